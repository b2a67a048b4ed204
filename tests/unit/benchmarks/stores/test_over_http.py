"""Two services get the same requests in turns, and the ratio of each round is judged."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import numpy as np
import pytest

from benchmarks.stores.over_http import Load, Service, loads_of, measure
from benchmarks.stores.points import Points

WIDTH = 4


class _Recorder(BaseHTTPRequestHandler):
    """Answers every request, and keeps what it was asked."""

    asked: list[tuple[int, str, bytes]]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        self.asked.append((self.connection.getsockname()[1], f"{self.command} {self.path}", body))
        self.send_response(200)
        answer = json.dumps({"segments": 1, "serving": "hnsw"}).encode()
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def do_GET(self) -> None:
        self.do_POST()

    def do_PUT(self) -> None:
        self.do_POST()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def services() -> Iterator[list[Service]]:
    _Recorder.asked = []
    servers = [ThreadingHTTPServer(("127.0.0.1", 0), _Recorder) for _ in range(2)]
    threads = [Thread(target=server.serve_forever, args=(0.01,)) for server in servers]
    for thread in threads:
        thread.start()
    yield [
        Service(store, f"http://127.0.0.1:{server.server_port}")
        for store, server in zip(("SQLite", "PostgreSQL"), servers, strict=True)
    ]
    for server, thread in zip(servers, threads, strict=True):
        server.shutdown()
        server.server_close()
        thread.join()


def test_both_services_get_the_same_requests_in_turns(services: list[Service]) -> None:
    vectors = np.random.default_rng(1).standard_normal((300, WIDTH), np.float32)
    points = Points.of(vectors)
    found = measure(services, loads_of(points, requests=2), points, rounds=2)

    ports = [int(service.url.rsplit(":", 1)[1]) for service in services]
    first, second = ([asked[1:] for asked in _Recorder.asked if asked[0] == port] for port in ports)
    assert sorted(first) == sorted(second)
    searches = [port for port, path, _ in _Recorder.asked if path.endswith("/search")]
    assert searches[:8] == [port for _ in range(2) for port in ports for _ in range(2)]
    upserts = [json.loads(body)["points"] for _, body in first if b'"points"' in body]
    ids = [point["id"] for points in upserts for point in points]
    assert len(ids) == len({*ids}) == 300 + 2 * 3 * 200
    assert [len(load.ratios) for load in found] == [2, 2, 2, 2]


def test_the_median_ratio_of_the_rounds_is_within_its_bound() -> None:
    figures = {"SQLite": [1.0, 2.0, 4.0], "PostgreSQL": [1.5, 2.4, 2.0]}

    def load(**bounds: float) -> Load:
        return Load("load", "ms", lambda *_: 0.0, figures=figures, **bounds)

    assert load().ratios == [1.5, 1.2, 0.5]
    assert load(at_most=1.2).ok
    assert not load(at_most=1.1).ok
    assert not load(at_least=1.3).ok
    assert str(load(at_least=1.3)).endswith("1.20 (0.50–1.50)  MISSED: 1.3")
