"""A Serve application that reads a body and answers with as many bytes as a cached embedding has.

It stands beside the measured service, behind the same proxy, so that the difference to a cached
request is the work of this project.
"""

from __future__ import annotations

import base64
from typing import Any

import orjson
from ray import serve
from ray.serve import Application
from starlette.types import ASGIApp, Receive, Scope, Send

from deployments.launch.actor_options import routed_in_own_loop

PREFIX = "/noop"

APPLICATION = {
    "name": "noop",
    "route_prefix": PREFIX,
    "import_path": "benchmarks.bench.noop:build",
    "args": {"width": 384},
}
"""The entry of the application in a Serve configuration; ``width`` is that of the model."""


@serve.ingress()
class NoOp:
    """Answers every request with the same bytes."""

    def __init__(self, width: int) -> None:
        vector = base64.b64encode(bytes(4 * width)).decode()
        usage = {"prompt_tokens": 20, "total_tokens": 20}
        data = [{"object": "embedding", "index": 0, "embedding": vector}]
        content = {"object": "list", "data": data, "model": "all-MiniLM-L6-v2", "usage": usage}
        self._answer = orjson.dumps(content)

    async def __serve_build_asgi_app__(self) -> ASGIApp:
        """Build the HTTP application; Serve calls this once the constructor has returned."""
        answer = self._answer
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(answer)),
        ]

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != "http":
                return
            while (await receive()).get("more_body", False):
                pass
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": answer})

        return app


def build(args: dict[str, Any]) -> Application:
    """Return the application for the arguments of its configuration."""
    options = routed_in_own_loop({"num_cpus": 0.1})
    declare = serve.deployment(name="NoOp", max_ongoing_requests=1000, ray_actor_options=options)
    application: Application = declare(NoOp).bind(int(args["width"]))
    return application
