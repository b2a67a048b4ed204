"""A service with PostgreSQL beside one with SQLite: searches and upserts over HTTP.

``python -m benchmarks.stores.over_http`` starts both on this machine, stores the same points in a
collection of each, and sends the same requests: searches for ten points with and without a filter,
one at a time, and upserts of 100 points, by one client and by four. The services take turns, a
round each, since the speed of a shared machine drifts; a ratio is that of two figures of one round.
Ends with status 1 where the median ratio misses its bound. The last line is one JSON document.

``--postgres`` is as for `benchmarks.stores`.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from benchmarks.index_loads import clustered
from benchmarks.service import changed_service
from benchmarks.stores.databases import empty_database, server
from benchmarks.stores.points import BATCH, TOP, Points
from embedder.core.types import Vectors

CLIENTS = 4
SETTLED_S = 120.0
TIMEOUT_S = 120.0
SEARCHED, WRITTEN = "/v1/collections/searched", "/v1/collections/written"

Round = Callable[["Service", int], float]
"""Sends the requests of a round, by its number, and returns its figure."""


@dataclass(frozen=True, slots=True)
class Service:
    """A running service, and the store that it has."""

    store: str
    url: str

    def connection(self) -> HTTPConnection:
        """Return a connection that stays open between requests."""
        address = urlsplit(self.url)
        return HTTPConnection(address.hostname or "", address.port, timeout=TIMEOUT_S)


@dataclass(slots=True)
class Load:
    """One kind of request, and its figures of all rounds by the store; PostgreSQL has a bound."""

    name: str
    unit: str
    run: Round
    at_most: float | None = None
    at_least: float | None = None
    figures: dict[str, list[float]] = field(default_factory=dict)

    @property
    def ratios(self) -> list[float]:
        """Return the figure of PostgreSQL by that of SQLite, of each round."""
        pairs = zip(self.figures["PostgreSQL"], self.figures["SQLite"], strict=True)
        return [one / base for one, base in pairs]

    @property
    def ok(self) -> bool:
        """Return whether the median of the ratios is within the bound."""
        ratio = statistics.median(self.ratios)
        low_enough = self.at_most is None or ratio <= self.at_most
        return low_enough and (self.at_least is None or ratio >= self.at_least)

    def document(self) -> dict[str, Any]:
        """Return what is printed as JSON."""
        return {"name": self.name, "unit": self.unit, "figures": self.figures, "ok": self.ok}

    def __str__(self) -> str:
        sqlite, postgres = (
            statistics.median(self.figures[one]) for one in ("SQLite", "PostgreSQL")
        )
        ratios = self.ratios
        spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f}–{max(ratios):.2f})"
        missed = "" if self.ok else f"  MISSED: {self.at_most or self.at_least}"
        return f"{self.name:36}{sqlite:11,.2f}{postgres:13,.2f} {self.unit:10}{spread}{missed}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the table and return the exit status."""
    options = _options(arguments)
    points = Points.of(clustered(options.points, options.width, 1))
    with ExitStack() as stack:
        url = stack.enter_context(server(options.postgres))
        if url is None:
            sys.exit("PostgreSQL is not installed, and no --postgres is given")
        database = stack.enter_context(empty_database(url))
        indexes: dict[str, dict[str, Any]] = {"SQLite": {}, "PostgreSQL": {"url": database}}
        services = [
            Service(store, stack.enter_context(changed_service(options.config, {"index": index})))
            for store, index in indexes.items()
        ]
        loads = measure(services, loads_of(points, options.requests), points, options.rounds)
    print(f"{options.points:,} points of {options.width} components, load {os.getloadavg()[0]:.1f}")
    print(f"{'':36}{'SQLite':>11}{'PostgreSQL':>13} {'':10}ratio, and its spread")
    print(*loads, sep="\n")
    print(json.dumps([load.document() for load in loads]))
    return 0 if all(load.ok for load in loads) else 1


def measure(
    services: Sequence[Service], loads: Sequence[Load], points: Points, rounds: int
) -> Sequence[Load]:
    """Store the points in each service, and let the services take turns under each load."""
    for service in services:
        with closing(service.connection()) as http:
            _send(http, "PUT", SEARCHED, json.dumps({"index": "hnsw"}).encode())
            _send(http, "PUT", WRITTEN, b"{}")
            for body in _upserts(points, 0):
                _send(http, "POST", f"{SEARCHED}/points", body)
            _wait_until_settled(http)
    for load in loads:
        for number in range(rounds + 1):
            for service in services:
                figure = load.run(service, number)
                if number:  # the first round warms up
                    load.figures.setdefault(service.store, []).append(figure)
            print(f"{load.name}, round {number}", file=sys.stderr, flush=True)
    return loads


def loads_of(points: Points, requests: int) -> list[Load]:
    """Return the loads, of so many requests a round."""
    queries = clustered(requests, points.vectors.shape[1], 2)
    below = len(points) // 20
    new = points.part(0, BATCH * requests)
    return [
        Load("search", "ms, p50", _searches(queries, None), at_most=1.2),
        Load("search, 5 % by a filter", "ms, p50", _searches(queries, below)),
        Load("upserts, one client", "points/s", _writes(new, 1, 1), at_least=0.5),
        Load(f"upserts, {CLIENTS} clients", "points/s", _writes(new, CLIENTS, 2), at_least=0.5),
    ]


def _searches(queries: Vectors, below: int | None) -> Round:
    condition = {} if below is None else {"filter": {"n": {"$lt": below}}}
    bodies = [
        json.dumps({"vector": _encoded(query), "top_k": TOP, **condition}).encode()
        for query in queries
    ]

    def run(service: Service, _: int) -> float:
        with closing(service.connection()) as http:
            taken = [_send(http, "POST", f"{SEARCHED}/search", body) for body in bodies]
        return 1000 * statistics.median(taken)

    return run


def _writes(points: Points, clients: int, load: int) -> Round:
    """Return rounds of upserts; ``load`` tells the ids of one load from those of another."""

    def run(service: Service, number: int) -> float:
        bodies = list(_upserts(points, 1_000 * load + number))

        def client(mine: int) -> None:
            with closing(service.connection()) as http:
                for body in bodies[mine::clients]:
                    _send(http, "POST", f"{WRITTEN}/points", body)

        begun = time.perf_counter()
        with ThreadPoolExecutor(clients) as threads:
            list(threads.map(client, range(clients)))
        return len(points) / (time.perf_counter() - begun)

    return run


def _upserts(points: Points, run: int) -> Iterator[bytes]:
    """Yield the bodies of upserts; the points of each run have other ids."""
    for batch in points.batches():
        rows = zip(batch.numbers.tolist(), batch.vectors, batch.values.tolist(), strict=True)
        found = [
            {"id": f"{run}-{number}", "vector": _encoded(vector), "metadata": {"n": value}}
            for number, vector, value in rows
        ]
        yield json.dumps({"points": found}).encode()


def _send(http: HTTPConnection, method: str, path: str, body: bytes | None = None) -> float:
    """Send a request and return how many seconds it took.

    Raises:
        RuntimeError: the status is not 200.
    """
    begun = time.perf_counter()
    http.request(method, path, body, {"content-type": "application/json"})
    answer = http.getresponse()
    text = answer.read()
    if answer.status != 200:
        raise RuntimeError(f"{method} {path}: {answer.status} {text[:500]!r}")
    return time.perf_counter() - begun


def _wait_until_settled(http: HTTPConnection) -> None:
    """Wait until the graph is built: all points are in one segment."""
    deadline = time.monotonic() + SETTLED_S
    while time.monotonic() < deadline:
        http.request("GET", SEARCHED)
        state = json.loads(http.getresponse().read())
        if state["segments"] == 1 and state["serving"] == "hnsw":
            return
        time.sleep(1)


def _encoded(row: Vectors) -> str:
    return base64.b64encode(row.tobytes()).decode()


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks.stores.over_http", description=__doc__)
    parser.add_argument("--postgres", help="the URL of a server of PostgreSQL")
    parser.add_argument("--config", type=Path, default=Path("serve_config.yaml"))
    parser.add_argument("--points", type=int, default=16_000)
    parser.add_argument("--width", type=int, default=384)
    parser.add_argument("--requests", type=int, default=100, help="of one load in a round")
    parser.add_argument("--rounds", type=int, default=5)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
