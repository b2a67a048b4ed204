"""The state of a service that starts, by the answers of its route ``/readyz``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest

from deployments.launch.readiness import not_ready, waiting_for

READY = {"stages": {"ingress": "ready"}, "capabilities": {"index": "ready"}}
WAITING = {
    "stages": {"ingress": "ready", "VectorIndex-0": "opens"},
    "capabilities": {"index": "waiting"},
}
FAILED = {"stages": {"VectorIndex-0": "is damaged"}, "capabilities": {"index": "failed"}}
STARTING = {"stages": {"Encoder": "loads", "ingress": "ready"}, "capabilities": {}}


@contextmanager
def service(status: int, body: str, missing_bytes: int = 0) -> Iterator[str]:
    """Answer ``/prefix/readyz``, also with fewer bytes than announced; yield the service's URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            assert self.path == "/prefix/readyz"
            self.send_response(status)
            self.send_header("content-length", str(len(body) + missing_bytes))
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, args=(0.01,)).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/prefix"
        finally:
            server.shutdown()


@pytest.mark.parametrize(
    ("status", "body", "waits", "problem"),
    [
        (200, json.dumps(READY), None, None),
        (200, json.dumps(WAITING), "waiting for the index", "VectorIndex-0: opens"),
        (200, json.dumps(FAILED), None, "VectorIndex-0: is damaged"),
        (503, json.dumps(STARTING), "waiting for Encoder", "waiting for Encoder"),
        (503, "<html>no server</html>", "starting the ingress", "starting the ingress"),
        (404, "[]", "starting the ingress", "starting the ingress"),
        (200, "<html>another service</html>", "no answer yet", "no answer yet"),
        (200, '{"stages": 1}', "no answer yet", "no answer yet"),
    ],
)
def test_the_answer_names_the_stage_that_is_not_ready(
    status: int, body: str, waits: str | None, problem: str | None
) -> None:
    with service(status, body) as url:
        assert waiting_for(url) == waits
        assert not_ready(url) == problem


def test_a_service_that_refuses_connections_has_not_answered_yet() -> None:
    with service(200, "") as url:
        pass

    assert waiting_for(url) == not_ready(url) == "no answer yet"


@pytest.mark.parametrize("status", [200, 503])
def test_an_answer_that_breaks_off_is_no_answer(status: int) -> None:
    with service(status, json.dumps(READY), missing_bytes=1) as url:
        assert waiting_for(url) == "no answer yet"
