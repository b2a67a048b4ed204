"""How long one search over HTTP takes: requests one after the other, on a connection that stays.

``python -m benchmarks.index_latency`` puts clustered vectors into a collection, and asks for the
ten nearest of one vector, of one text, and for ``/healthz``, which passes through the proxy and the
ingress alone. The requests alternate, since the speed of a shared machine drifts. The table has
milliseconds; its last line is one JSON document.
"""

from __future__ import annotations

import argparse
import base64
import http.client
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import numpy as np

from benchmarks.index_loads import clustered
from benchmarks.service import measured_service
from benchmarks.texts import sample
from embedder.core.types import Vectors

POINTS = 1000
"""Of one request that fills the collection."""
TOP_K = 10
SETTLED_S = 120.0
TIMEOUT_S = 120.0
PERCENTILES = (50, 90, 99)


class Client:
    """One connection to a service."""

    def __init__(self, url: str) -> None:
        self._connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=TIMEOUT_S)

    def ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the answer as an object, an empty one without a body.

        Raises:
            RuntimeError: the request failed.
        """
        sent = None if body is None else json.dumps(body)
        self._connection.request(method, path, sent, {"content-type": "application/json"})
        response = self._connection.getresponse()
        text = response.read()
        if response.status // 100 != 2:
            raise RuntimeError(f"{method} {path}: {response.status} {text.decode()}")
        answer: dict[str, Any] = json.loads(text or "{}")
        return answer


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print a table and a JSON line."""
    options = _options(arguments)
    with measured_service(options.url, options.config) as url:
        client = Client(url)
        path = f"/v1/collections/latency-{uuid4().hex[:8]}"
        client.ask("PUT", path, {"index": options.index})
        _fill(client, path, clustered(options.points, options.width, 1))
        queries = clustered(options.requests, options.width, 2)
        times = measure(client, path, queries, sample(options.requests, seed=3))
        client.ask("DELETE", path)
    print(f"{options.points:,} points of {options.width} components, {options.index}; ms")
    print(f"{'':16}" + "".join(f"{f'p{share}':>8}" for share in PERCENTILES))
    for name, taken in times.items():
        shown = "".join(f"{np.percentile(taken, share):8.2f}" for share in PERCENTILES)
        print(f"{name:16}{shown}")
    print(json.dumps(times))


def measure(
    client: Client, path: str, queries: Vectors, texts: Sequence[str]
) -> dict[str, list[float]]:
    """Return the milliseconds of each request by its kind, without those of the first tenth."""
    search = f"{path}/search"
    asked: dict[str, Callable[[int], object]] = {
        "healthz": lambda _: client.ask("GET", "/healthz"),
        "by vector": lambda row: client.ask(
            "POST", search, {"vector": _base64(queries[row]), "top_k": TOP_K}
        ),
        "by text": lambda row: client.ask("POST", search, {"text": texts[row], "top_k": TOP_K}),
    }
    times: dict[str, list[float]] = {name: [] for name in asked}
    for row in range(len(queries)):
        for name, ask in asked.items():
            began = time.perf_counter()
            ask(row)
            times[name].append(1000 * (time.perf_counter() - began))
    return {name: taken[len(taken) // 10 :] for name, taken in times.items()}


def _fill(client: Client, path: str, rows: Vectors) -> None:
    """Store points with a text, and wait until no segment is made or merged any more."""
    for start in range(0, len(rows), POINTS):
        points = [
            {"id": str(number), "vector": _base64(row), "text": f"text {number}"}
            for number, row in enumerate(rows[start : start + POINTS], start)
        ]
        client.ask("POST", f"{path}/points", {"points": points})
    deadline, known = time.monotonic() + SETTLED_S, None
    while time.monotonic() < deadline:
        state = client.ask("GET", path)
        now = (state["segments"], state["pending"], state["deleted"])
        if now == known:
            return
        known = now
        time.sleep(3)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks.index_latency", description=__doc__)
    parser.add_argument("--url", help="a running service; one is started where left out")
    parser.add_argument("--config", type=Path, default=Path("serve_config.yaml"))
    parser.add_argument("--index", default="hnsw", help="the kind of the index (hnsw)")
    parser.add_argument("--points", type=int, default=20_000)
    parser.add_argument("--width", type=int, default=384)
    parser.add_argument("--requests", type=int, default=300, help="of each kind")
    return parser.parse_args(arguments)


def _base64(row: Vectors) -> str:
    return base64.b64encode(row.tobytes()).decode()


if __name__ == "__main__":
    main()
