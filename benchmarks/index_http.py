"""Searches over HTTP beside bare FAISS: how much of its speed the service keeps.

``python -m benchmarks.index_http`` puts clustered vectors into a flat collection and asks 64
vectors a request, in base64. Bare FAISS answers the same in this process with as many threads, and
so does the library, which shows where the rest goes. The contenders alternate, since the speed of
a shared machine drifts; the table gives medians. The last line is one JSON document.
"""

from __future__ import annotations

import argparse
import base64
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import faiss
import httpx
import numpy as np

from benchmarks.service import measured_service
from embedder.core.types import Vectors
from embedder.index.contract.kinds import IndexKind
from embedder.index.contract.points import Points, Query, Spec
from embedder.index.vector_index import VectorIndex
from embedder.settings.model import IndexSettings

QUERIES = 64
TOP_K = 10
POINTS = 1000
"""Of one request that fills the collection."""

CLUSTERS = 256
SPREAD = 0.5
SETTLED_S = 120.0
TIMEOUT_S = 120.0

Ids = list[list[str]]
Contender = Callable[[Vectors], Ids]
"""Returns the ids of the nearest points of each query."""


@dataclass(frozen=True, slots=True)
class Row:
    """One contender: queries a second of every round, and its agreement with FAISS."""

    name: str
    queries_per_s: list[float]
    same: float

    @property
    def median(self) -> float:
        """Return the median of the rounds."""
        return statistics.median(self.queries_per_s)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print a table and a JSON line."""
    options = _options(arguments)
    random = np.random.default_rng(0)
    centres = random.standard_normal((CLUSTERS, options.width), np.float32)
    vectors = clustered(random, centres, options.points)
    with ExitStack() as stack:
        contenders = _contenders(stack, options, vectors)
        asked = [clustered(random, centres, QUERIES) for _ in range(options.requests)]
        rows = _measure(contenders, asked, options.rounds)
    base = rows[0].median
    print(f"{options.points:,} points of width {options.width}, {QUERIES} queries a request")
    print(f"{'':28}{'queries/s':>10}{'spread':>16}{'ratio':>8}{'same':>8}")
    for row in rows:
        spread = f"{min(row.queries_per_s):.0f}–{max(row.queries_per_s):.0f}"
        ratio = row.median / base
        print(f"{row.name:28}{row.median:10.0f}{spread:>16}{ratio:8.2f}{row.same:8.4f}")
    print(json.dumps([asdict(row) for row in rows]))


def clustered(random: np.random.Generator, centres: Vectors, count: int) -> Vectors:
    """Return float32[count, d] unit vectors around some of the centres."""
    chosen = centres[random.integers(0, len(centres), count)]
    rows = chosen + SPREAD * random.standard_normal(chosen.shape, np.float32)
    unit: Vectors = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks.index_http", description=__doc__)
    parser.add_argument("--url", help="a running service; one is started where left out")
    parser.add_argument("--config", type=Path, default=Path("serve_config.yaml"))
    parser.add_argument("--points", type=int, default=100_000)
    parser.add_argument("--width", type=int, default=384)
    parser.add_argument("--requests", type=int, default=10, help="of one contender in a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--threads", type=int, default=1, help="index.search_threads of the service"
    )
    return parser.parse_args(arguments)


def _contenders(
    stack: ExitStack, options: argparse.Namespace, vectors: Vectors
) -> dict[str, Contender]:
    faiss.omp_set_num_threads(options.threads)
    bare = faiss.IndexFlatIP(options.width)
    bare.add(vectors)
    ids = [str(number) for number in range(len(vectors))]
    url = stack.enter_context(measured_service(options.url, options.config))
    client = stack.enter_context(httpx.Client(base_url=url, timeout=TIMEOUT_S))
    return {
        "bare FAISS": lambda asked: [
            [ids[at] for at in row] for row in bare.search(asked, TOP_K)[1].tolist()
        ],
        "the library, in process": _library(stack, options, ids, vectors),
        "the service, HTTP": _over_http(stack, client, ids, vectors),
    }


def _library(
    stack: ExitStack, options: argparse.Namespace, ids: list[str], vectors: Vectors
) -> Contender:
    index = VectorIndex(IndexSettings(search_threads=options.threads))
    stack.callback(index.close)
    index.create("flat", Spec(kind=IndexKind.FLAT))
    for at in range(0, len(ids), POINTS):
        part = ids[at : at + POINTS]
        texts, metadata = [None] * len(part), [{}] * len(part)  # type: ignore[var-annotated] # both say nothing
        index.upsert("flat", Points(part, vectors[at : at + POINTS], texts, metadata))
    index.run_maintenance()

    def search(asked: Vectors) -> Ids:
        found = index.search([Query("flat", row, TOP_K, include=()) for row in asked])
        return [[hit.id for hit in hits] for hits in found]

    return search


def _over_http(
    stack: ExitStack, client: httpx.Client, ids: list[str], vectors: Vectors
) -> Contender:
    path = f"/v1/collections/flat-{uuid4().hex[:8]}"
    client.put(path, json={"index": "flat"}).raise_for_status()
    stack.callback(client.delete, path)
    for at in range(0, len(ids), POINTS):
        rows = zip(ids[at : at + POINTS], vectors[at : at + POINTS], strict=True)
        points = [{"id": one, "vector": _base64(row)} for one, row in rows]
        client.post(f"{path}/points", json={"points": points}).raise_for_status()
    _wait_until_settled(client, path)

    def search(asked: Vectors) -> Ids:
        queries = [{"vector": _base64(row), "top_k": TOP_K} for row in asked]
        answer = client.post(f"{path}/search", json={"queries": queries}).raise_for_status()
        return [[hit["id"] for hit in hits] for hits in answer.json()["results"]]

    return search


def _wait_until_settled(client: httpx.Client, path: str) -> None:
    """Wait until no segment is made or merged any more."""
    deadline = time.monotonic() + SETTLED_S
    known: tuple[Any, ...] = ()
    while time.monotonic() < deadline:
        state = client.get(path).raise_for_status().json()
        now = (state["segments"], state["pending"], state["deleted"])
        if now == known:
            return
        known = now
        time.sleep(3)


def _measure(contenders: dict[str, Contender], asked: list[Vectors], rounds: int) -> list[Row]:
    rates: dict[str, list[float]] = {name: [] for name in contenders}
    found: dict[str, Ids] = {}
    for number in range(rounds + 1):
        for name, contender in contenders.items():
            began = time.perf_counter()
            found[name] = [ids for part in asked for ids in contender(part)]
            rate = len(asked) * QUERIES / (time.perf_counter() - began)
            print(f"round {number} {name}: {rate:.0f}", file=sys.stderr)
            if number > 0:  # the first round warms up
                rates[name].append(rate)
    expected = found[next(iter(contenders))]
    return [Row(name, rates[name], _same(found[name], expected)) for name in contenders]


def _same(found: Ids, expected: Ids) -> float:
    """Return the share of expected neighbours that were found."""
    pairs = list(zip(found, expected, strict=True))
    return sum(len({*one} & {*other}) for one, other in pairs) / sum(map(len, expected))


def _base64(row: Vectors) -> str:
    return base64.b64encode(row.tobytes()).decode()


if __name__ == "__main__":
    main()
