"""The axis of a collection's size: queries of the library's index in this process, one a call."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from itertools import cycle

from benchmarks.bench.measuring import say
from benchmarks.index_loads import clustered, merge_all, points
from benchmarks.scaling.laws import descent, scan
from benchmarks.scaling.options import Options
from benchmarks.scaling.rounds import Report, in_turn, median_seconds
from benchmarks.scaling.series import Series, series
from embedder.core.types import Vectors
from embedder.index.contract.kinds import IndexKind
from embedder.index.contract.points import Query, Spec
from embedder.index.vector_index import VectorIndex
from embedder.settings.model import IndexSettings

WIDTH = 384
TOP = 10
QUERIES = 256
QUERIES_SEED = 1
"""Points take multiples of `PART` as seeds: no query is one of them."""

WRITE_BATCH = 256
PART = 20_000
"""Points that are made at once: all of them would take more memory than the index does."""

Sizes = Mapping[IndexKind, tuple[int, ...]]
"""The sizes of the collections of each kind."""

SIZES: Sizes = {
    IndexKind.FLAT: (5_000, 20_000, 80_000, 320_000),
    IndexKind.HNSW: (5_000, 20_000, 80_000),
}
QUICK_SIZES: Sizes = {
    IndexKind.FLAT: (2_500, 5_000, 10_000),
    IndexKind.HNSW: (2_500, 5_000, 10_000),
}
LAWS = {IndexKind.FLAT: scan, IndexKind.HNSW: descent}


def size(options: Options, report: Report) -> list[Series]:
    """Measure the queries a second by the points of a collection, flat and HNSW."""
    with tempfile.TemporaryDirectory(prefix="embedder-scaling-") as folder:
        settings = IndexSettings(directory=folder, build_threads=os.cpu_count() or 1)
        index = VectorIndex(settings, background=False)
        try:
            return by_points(index, options.choose(SIZES, QUICK_SIZES), WIDTH, options, report)
        finally:
            index.close()


def by_points(
    index: VectorIndex,
    sizes: Sizes,
    width: int,
    options: Options,
    report: Report,
) -> list[Series]:
    """Return a series for each kind of collection, all of which take turns."""
    places = {
        name_of(kind, count): (kind, count) for kind, counts in sizes.items() for count in counts
    }
    for name, (kind, count) in places.items():
        say(f"  building {name}")
        build(index, name, kind, count, width)
    asked = clustered(QUERIES, width, QUERIES_SEED)
    found = in_turn(
        [*places],
        lambda name: rate(index, name, asked, options.in_process_s),
        rounds=options.rounds,
        report=report,
    )
    return [
        series(kind.value, [(count, found[name_of(kind, count)]) for count in counts], LAWS[kind])
        for kind, counts in sizes.items()
    ]


def name_of(kind: IndexKind, count: int) -> str:
    """Return the name of a collection."""
    return f"{kind.value}-{count}"


def build(index: VectorIndex, name: str, kind: IndexKind, count: int, width: int) -> None:
    """Fill a collection, and merge it into one segment."""
    index.create(name, Spec(kind=kind))
    for start in range(0, count, PART):
        rows = clustered(min(PART, count - start), width, start)
        for at in range(0, len(rows), WRITE_BATCH):
            index.upsert(name, points(rows[at : at + WRITE_BATCH], start + at))
    merge_all(index, name)
    index.run_maintenance()


def rate(index: VectorIndex, name: str, asked: Vectors, seconds: float) -> float:
    """Return the queries a second that one client after another gets, by the median time."""
    queries = cycle(asked)
    taken = median_seconds(
        lambda: index.search([Query(name, next(queries), TOP, include=())]), seconds
    )
    return 1 / taken
