"""The recall of every kind of index under filters, deletions and copies, in one table.

``python -m benchmarks.recall`` builds each kind from the same clustered vectors, 60,000 of 384
components, and compares its ten and 512 nearest neighbours with those of brute force. A filter
keeps 50, 5 or 0.1 % of the points: by chance, those nearest to each query, or those farthest from
it. The same is measured after the 20 % nearest to one query were deleted, and with 10,000 copies of
one vector among the points. ``--vectors FILE`` takes the rows of an array of float32 in NumPy's
format, such as `benchmarks.sentences` writes.
The seeds are fixed. Ends with status 1 where a share misses its bound.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.index_loads import clustered, merge_all, upsert_all
from embedder.core.types import Vectors
from embedder.index.collection.nearest import search
from embedder.index.collection.search_view import SearchView
from embedder.index.contract.kinds import IndexKind
from embedder.index.contract.limits import MAX_TOP_K
from embedder.index.contract.points import Metric, Spec
from embedder.index.segments.scoring import approximate_scores, normalize
from embedder.index.vector_index import VectorIndex
from embedder.settings.model import IndexSettings

KINDS = [kind for kind in IndexKind if kind is not IndexKind.AUTO]
SHARES = (0.5, 0.05, 0.001)
METRIC = Metric.COSINE
TOP = 10
MANY = 512
LEAST = 0.95
LEAST_OWN = 0.99
"""Share of the points beside the copies that are their own nearest neighbours."""
OWN_QUERIES = 2_000
BATCH = 1_000

Positions = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Figure:
    """A share, the least that it has to be, and the milliseconds of a query that comes alone."""

    kind: IndexKind
    case: str
    share: float
    least: float
    milliseconds: float

    def __str__(self) -> str:
        missed = "" if self.share >= self.least else f"  MISSED: at least {self.least}"
        name = f"{self.kind.value:10}{self.case:32}"
        return f"{name}{self.share:8.4f}{self.milliseconds:9.3f} ms{missed}"


class Measured:
    """One kind of index over all rows, in one segment; row numbers are positions in it."""

    def __init__(self, kind: IndexKind, rows: Vectors, settings: IndexSettings) -> None:
        self.kind = kind
        self._index = VectorIndex(settings, background=False)
        self._index.create("c", Spec(METRIC, kind=kind))
        upsert_all(self._index, "c", rows, BATCH)
        begun = time.perf_counter()
        merge_all(self._index, "c")
        self.build_s = time.perf_counter() - begun
        collection = self._index._shard.find("c")
        assert collection.state is not None
        fetch = partial(collection.fetch, self._index._shard.store.reader)
        self._view = SearchView(collection.state, METRIC, settings, fetch)

    def delete(self, rows: Positions) -> None:
        """Mark rows as deleted; no merge follows."""
        state = self._view.state
        (segment,) = state.segments
        state = replace(state, segments=(segment.delete(segment.pks[rows]),))
        self._view = replace(self._view, state=state)

    def nearest(self, queries: Vectors, top: int, allowed: Positions | None) -> list[Positions]:
        """Return the rows nearest to each normalized query, of those allowed."""
        filtered = None if allowed is None else [allowed, np.empty(0, np.int64)]
        view = replace(self._view, allowed=filtered)
        return [found.locations for found in search(view, queries, top)]

    def close(self) -> None:
        """Close the index."""
        self._index.close()


def figures(
    kind: IndexKind, rows: Vectors, queries: Vectors, settings: IndexSettings
) -> Iterator[Figure]:
    """Yield the recall of one kind with all points, under filters, and after deletions.

    Rows and queries are normalized.
    """
    exact = approximate_scores(METRIC, queries, rows)
    order = np.argsort(-exact, axis=1, kind="stable")
    by_chance = np.random.default_rng(3).permutation(len(rows))
    measured = Measured(kind, rows, settings)

    def figure(
        case: str, kept: Sequence[Positions] | None, live: Positions, top: int = TOP
    ) -> Figure:
        right, spent = 0.0, 0.0
        for number, query in enumerate(queries):
            allowed = None if kept is None else np.sort(kept[number])
            begun = time.perf_counter()
            (found,) = measured.nearest(query[None], top, allowed)
            spent += time.perf_counter() - begun
            among = live if allowed is None else allowed
            nearest = among[np.argsort(-exact[number, among], kind="stable")[:top]]
            right += len(np.intersect1d(found, nearest)) / len(nearest)
        return Figure(kind, case, right / len(queries), LEAST, 1000 * spent / len(queries))

    every = np.arange(len(rows))
    yield figure(f"all points, built in {measured.build_s:.1f} s", None, every)
    yield figure(f"all points, the {MANY} nearest", None, every, MANY)
    for share in SHARES:
        count = max(TOP, int(share * len(rows)))
        yield figure(f"{share:.1%}, by chance", [by_chance[:count]] * len(queries), every)
        yield figure(f"{share:.1%}, the nearest", list(order[:, :count]), every)
        yield figure(f"{share:.1%}, the farthest", list(order[:, -count:]), every)
    deleted = order[0, : len(rows) // 5]
    measured.delete(np.sort(deleted))
    yield figure("all but the deleted 20 %", None, np.setdiff1d(every, deleted))
    measured.close()


def copies_figures(
    kind: IndexKind, rows: Vectors, copies: int, settings: IndexSettings
) -> Iterator[Figure]:
    """Yield the figures of one kind where ``copies`` of the rows are one vector."""
    chance = np.random.default_rng(4)
    places = np.sort(chance.choice(len(rows), copies, replace=False))
    others = np.setdiff1d(np.arange(len(rows)), places)
    rows = rows.copy()
    rows[places] = rows[places[0]]
    measured = Measured(kind, rows, settings)
    asked = chance.permutation(others)[:OWN_QUERIES]
    begun = time.perf_counter()
    own = [measured.nearest(rows[row][None], 1, None)[0].tolist() == [row] for row in asked]
    spent = 1000 * (time.perf_counter() - begun) / len(asked)
    case = f"own nearest, built in {measured.build_s:.1f} s"
    yield Figure(kind, case, float(np.mean(own)), LEAST_OWN, spent)
    pages = [places[start : start + MAX_TOP_K] for start in range(0, copies, MAX_TOP_K)]
    begun = time.perf_counter()
    # Copies have equal scores, so the lowest pks come first: of all points, and of each page.
    found = [measured.nearest(rows[places[:1]], len(page), page)[0] for page in pages]
    found.append(measured.nearest(rows[places[:1]], len(pages[0]), None)[0])
    spent = 1000 * (time.perf_counter() - begun) / len(found)
    right = [np.array_equal(*pair) for pair in zip(found, [*pages, pages[0]], strict=True)]
    yield Figure(kind, "copies, in the order of their pks", float(np.mean(right)), 1.0, spent)
    measured.close()


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the table and return the exit status."""
    parser = argparse.ArgumentParser(prog="benchmarks.recall", description=__doc__)
    parser.add_argument("--points", type=int, default=60_000)
    parser.add_argument("--width", type=int, default=384)
    parser.add_argument("--queries", type=int, default=50)
    parser.add_argument("--copies", type=int, default=10_000)
    parser.add_argument("--vectors", type=Path, help="distinct rows; the last ones are the queries")
    parser.add_argument("--kinds", nargs="*", type=IndexKind, default=KINDS)
    options = parser.parse_args(arguments)
    if options.vectors is None:
        rows = clustered(options.points, options.width, 1)
        queries = clustered(options.queries, options.width, 2)
    else:
        given = np.load(options.vectors).astype(np.float32)
        rows, queries = given[: -options.queries], given[-options.queries :]
    rows, queries = normalize(METRIC, rows), normalize(METRIC, queries)
    settings, ok = IndexSettings(), True
    print(f"{'kind':10}{'points that may be found':32}{'recall':>8}{'a query':>12}")
    for kind in options.kinds:
        for figure in (
            *figures(kind, rows, queries, settings),
            *copies_figures(kind, rows, min(options.copies, len(rows) // 2), settings),
        ):
            print(figure, flush=True)
            ok = ok and figure.share >= figure.least
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
