"""What a service waits for, by the answers of its route ``/readyz``."""

from __future__ import annotations

import io
import json
import urllib.error
from email.message import Message
from typing import Any

import pytest

from deployments.launch import readiness
from deployments.launch.readiness import not_ready, waiting_for

READY = {"stages": {"ingress": "ready"}, "capabilities": {"index": "ready"}}
WAITING = {
    "stages": {"ingress": "ready", "VectorIndex-0": "opens"},
    "capabilities": {"index": "waiting"},
}
FAILED = {"stages": {"VectorIndex-0": "is damaged"}, "capabilities": {"index": "failed"}}
STARTING = {"stages": {"Encoder": "loads", "ingress": "ready"}, "capabilities": {}}


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
        (0, "", "no answer yet", "no answer yet"),
    ],
)
def test_the_answer_says_what_is_not_ready(
    status: int, body: str, waits: str | None, problem: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answer(url: str, timeout: float) -> Any:
        assert url == "http://127.0.0.1:8000/readyz"
        if status == 0:
            raise ConnectionRefusedError
        content = io.BytesIO(body.encode())
        if status == 200:
            return content
        raise urllib.error.HTTPError(url, status, "", Message(), content)

    monkeypatch.setattr(readiness._DIRECT, "open", answer)

    assert waiting_for("http://127.0.0.1:8000") == waits
    assert not_ready("http://127.0.0.1:8000") == problem
