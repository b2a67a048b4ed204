"""A service is loaded, and its cost follows from its counters; its configuration is valid."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from typing import Any, ClassVar

import pytest

from deployments.launch.preflight import load_applications
from deployments.operations import service_cost
from deployments.operations.process_costs import NODE, PROXY, ProcessCosts
from embedder.core.errors import Unavailable
from embedder.settings.model import BackendSettings, EmbedderSettings, ModelSettings


class _Service(BaseHTTPRequestHandler):
    """Answers as the service does; a batch takes 1 ms."""

    protocol_version = "HTTP/1.1"
    lock = Lock()
    texts: ClassVar[list[str]] = []
    status = 200

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        with self.lock:
            self.texts.append(body["input"])
        self._answer({"usage": {"total_tokens": 20}})

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("content-length", 0)))
        count = len(self.texts)
        batching = {"batches": count, "busy_s": count / 1000}
        self._answer({"encoders": [{"models": [{"batching": batching}]}]})

    def log_message(self, format: str, *_: Any) -> None:
        """Print nothing."""

    def _answer(self, value: object) -> None:
        content = json.dumps(value).encode()
        self.send_response(self.status)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


class _Server(ThreadingHTTPServer):
    request_queue_size = 64  # more than the clients, which connect at once


@pytest.fixture
def url(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Yield the URL of a service whose texts are in `_Service.texts`."""
    monkeypatch.setattr(_Service, "texts", [])
    with _Server(("127.0.0.1", 0), _Service) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_costs_are_differences_by_request(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before, after = ProcessCosts(), ProcessCosts()
    for costs, seconds in ((before, 10.0), (after, 12.0)):
        for stage in ("Ingress", "Tokenizer", "Encoder", PROXY, NODE):
            costs.core_s[stage] = seconds
            costs.memory_bytes[stage] = 600
            costs.count[stage] = 1
    after.count["Ingress"] = 2
    measured = iter([before, after])
    monkeypatch.setattr(service_cost, "process_costs", lambda processes: next(measured))

    cost = service_cost.running_cost(url, lambda: [os.getpid()], 0.05, alone_requests=5)

    loaded = len(_Service.texts) - 10
    assert len(set(_Service.texts)) == len(_Service.texts) >= 10 + service_cost.CLIENTS
    assert cost.text_tokens == 20
    assert cost.ingress_s == pytest.approx(2 / loaded)
    assert cost.haproxy_s == pytest.approx(2 / loaded)
    assert (cost.ingress_bytes, cost.encoder_bytes, cost.node_bytes) == (300, 600, 1200)
    assert cost.alone_p99_s > 0


def test_a_request_that_fails_ends_the_measurement(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_Service, "status", 503)

    with pytest.raises(Unavailable, match="answers 503"):
        service_cost.running_cost(url, list, 0.05)


def test_a_service_that_is_gone_ends_the_measurement() -> None:
    with pytest.raises(Unavailable, match="does not answer"):
        service_cost.running_cost("http://127.0.0.1:9", list, 0.05)


def test_the_measured_configuration_is_valid_and_encodes_in_one_replica() -> None:
    settings = EmbedderSettings(
        model=ModelSettings(name="all-MiniLM-L6-v2", max_tokens=64),
        backend=BackendSettings(dtype="float32"),
    )

    (application,) = load_applications(service_cost.document(settings, "/data"))
    arguments = application[1].settings
    (model,) = application[2].models

    assert (model.name, model.max_tokens) == ("all-MiniLM-L6-v2", 64)
    assert arguments.backend.dtype == "float32"
    assert (arguments.encoder.placement, arguments.encoder.replicas) == ("remote", 1)
    assert arguments.data_directory == "/data"
    assert arguments.ingress.max_replicas == arguments.tokenizer.max_replicas == 1
