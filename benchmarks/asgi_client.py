"""Requests to the application of an ingress in this process."""

from __future__ import annotations

import asyncio

from starlette.types import ASGIApp, Message


async def post(app: ASGIApp, path: str, body: bytes, accept: str = "application/json") -> bytes:
    """Send one request of JSON to the application as a server does; return the response's body.

    Raises:
        RuntimeError: the status is not 200.
    """
    scope = {
        "type": "http",
        "http_version": "1.1",
        "scheme": "http",
        "method": "POST",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": b"",
        "headers": [
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
            (b"accept", accept.encode()),
        ],
    }
    requests = iter([{"type": "http.request", "body": body, "more_body": False}])
    responses: list[Message] = []

    async def receive() -> Message:
        for request in requests:
            return request
        await asyncio.Event().wait()  # the client stays connected
        raise AssertionError("nothing sets the event")

    async def send(message: Message) -> None:
        responses.append(message)

    await app(scope, receive, send)
    answer = b"".join(message.get("body", b"") for message in responses)
    if responses[0]["status"] != 200:
        raise RuntimeError(f"{path}: {answer.decode()}")
    return answer
