"""What the benchmark of the index is fed with, and the contenders that it compares."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from embedder.core.types import Vectors
from embedder.index.contract.points import Hit, Points, Query
from embedder.index.contract.pricing import EF_PER_CANDIDATE
from embedder.index.segments.scoring import normalize
from embedder.index.vector_index import VectorIndex

CLUSTERS = 1000
SPREAD = 0.8


def clustered(count: int, width: int, seed: int) -> Vectors:
    """Return vectors around the same centres for every seed."""
    centres = np.random.default_rng(0).standard_normal((CLUSTERS, width), np.float32)
    chance = np.random.default_rng(seed)
    rows = chance.standard_normal((count, width), np.float32)
    rows *= SPREAD
    rows += centres[chance.integers(0, CLUSTERS, count)]
    return rows


def points(rows: Vectors, start: int) -> Points:
    """Return points with ids, and metadata as a small document would have."""
    count = len(rows)
    names = [f"document-{number:08}" for number in range(start, start + count)]
    return Points(names, rows, [None] * count, [{"lang": "en", "n": n} for n in range(count)])


def upsert_all(index: VectorIndex, name: str, rows: Vectors, size: int) -> float:
    """Upsert all rows in batches and return how many a second."""
    batches = [points(rows[start : start + size], start) for start in range(0, len(rows), size)]
    begun = time.perf_counter()
    for batch in batches:
        index.upsert(name, batch)
    return len(rows) / (time.perf_counter() - begun)


def merge_all(index: VectorIndex, name: str) -> None:
    """Merge all segments of a collection into one, as merges do in the long run."""
    collection = index._shard.find(name)
    segments = collection._segments
    if segments is not None:
        segments.index.seal()
        segments.merge(segments.index.state.segments, collection.wait)


class Contenders:
    """The index, and the FAISS index inside its only segment with the same parameters."""

    def __init__(self, index: VectorIndex, name: str, top: int) -> None:
        import faiss

        collection = index._shard.find(name)
        state = collection.state
        assert state is not None
        assert len(state.segments) == 1, "the collection is merged"
        segment = state.segments[0]
        faiss.omp_set_num_threads(1)
        self._index, self._name, self._top = index, name, top
        self._metric, self._bare = collection.metric, segment.index
        self._parameters: Any = None
        if segment.kind.value == "hnsw":
            effort = max(index._shard.settings.hnsw_ef_search, EF_PER_CANDIDATE * top)
            self._parameters = faiss.SearchParametersHNSW(efSearch=effort)

    def ours(self, queries: Vectors) -> list[list[Hit]]:
        """Search by the public method, for ids and scores."""
        return self._index.search(
            [Query(self._name, query, self._top, include=()) for query in queries]
        )

    def bare(self, queries: Vectors) -> object:
        """Search by FAISS alone, which knows neither ids nor units."""
        placed = normalize(self._metric, queries)
        return self._bare.search(placed, self._top, params=self._parameters)


@contextmanager
def while_writing(index: VectorIndex, name: str, width: int, rate: int) -> Iterator[None]:
    """Upsert new points at a rate beside the block, in batches of 256."""
    rows, stop = clustered(100 * 256, width, 3), threading.Event()

    def write() -> None:
        started, written = time.monotonic(), 0
        while not stop.is_set():
            at = written % len(rows)
            index.upsert(name, points(rows[at : at + 256], 10_000_000 + written))
            written += 256
            stop.wait(max(0.0, started + written / rate - time.monotonic()))

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def percentile(values: Sequence[float], share: float) -> float:
    """Return a percentile."""
    return float(np.percentile(values, share))
