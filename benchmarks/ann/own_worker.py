"""The index of this project, bare FAISS and pgvector, each in a process with the peers' lines."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from benchmarks.index_loads import merge_all
from benchmarks.peers.ann import (
    BUILD_THREADS,
    EF_CONSTRUCTION,
    EF_SEARCH,
    TOP,
    Contender,
    M,
    run,
)
from benchmarks.stores.pgvector import Pgvector
from benchmarks.stores.points import Points as Stored
from embedder.core.types import Vectors
from embedder.index.contract.kinds import IndexKind
from embedder.index.contract.points import Metric, Points, Query, Spec
from embedder.index.vector_index import VectorIndex
from embedder.settings.model import IndexSettings

WRITTEN = 1000
"""Points of an upsert."""
URL = "BENCHMARK_PGVECTOR"
"""The environment variable with the URL of a server that has pgvector."""
KINDS = (
    IndexKind.HNSW,
    IndexKind.FLAT,
    IndexKind.IVF_FLAT,
    IndexKind.IVF_SQ8,
    IndexKind.IVF_PQ,
)


def settings_in(folder: Path, kind: IndexKind) -> IndexSettings:
    """Return the settings of an index in the folder, with the parameters of all graphs."""
    return IndexSettings(
        directory=str(folder / f"index-{kind.value}"),
        build_threads=BUILD_THREADS,
        hnsw_m=M,
        hnsw_ef_construction=EF_CONSTRUCTION,
        hnsw_ef_search=EF_SEARCH,
    )


class Ours:
    """A collection of this project's index on the disk: durable writes, ids, exact scores."""

    def __init__(self, kind: IndexKind) -> None:
        self._kind = kind

    def build(self, points: Vectors, folder: Path) -> None:
        """Upsert the points, build the index of all of them, and save it."""
        index = VectorIndex(settings_in(folder, self._kind), background=False)
        index.create("c", Spec(Metric.COSINE, kind=self._kind))
        for start in range(0, len(points), WRITTEN):
            rows = np.array(points[start : start + WRITTEN])
            names = [str(number) for number in range(start, start + len(rows))]
            index.upsert("c", Points(names, rows, [None] * len(rows), [{} for _ in names]))
        merge_all(index, "c")
        index.run_maintenance()
        index.close()

    def load(self, folder: Path, width: int) -> None:
        """Open the index."""
        self._index = VectorIndex(settings_in(folder, self._kind), background=False)

    def search(self, queries: Vectors) -> list[list[int]]:
        """Search by the public method, for ids and scores."""
        answers = self._index.search([Query("c", one, TOP, include=()) for one in queries])
        return [[int(hit.id) for hit in hits] for hits in answers]


class BareFaiss:
    """A graph of FAISS alone."""

    def build(self, points: Vectors, folder: Path) -> None:
        """Build the index of float32[n, d], and save it."""
        faiss.omp_set_num_threads(BUILD_THREADS)
        index = faiss.IndexHNSWFlat(points.shape[1], M, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction = EF_CONSTRUCTION
        index.add(np.array(points))
        faiss.write_index(index, str(folder / "faiss"))

    def load(self, folder: Path, width: int) -> None:
        """Load the index."""
        faiss.omp_set_num_threads(1)
        self._index: Any = faiss.read_index(str(folder / "faiss"))
        self._index.hnsw.efSearch = EF_SEARCH

    def search(self, queries: Vectors) -> Any:
        """Return the numbers of the nearest points."""
        return self._index.search(queries, TOP)[1]


class OfPostgres:
    """A graph of pgvector in the database of `URL`, whose table must not exist at the build."""

    def build(self, points: Vectors, folder: Path) -> None:
        """Insert the points and build the index."""
        settings = settings_in(folder, IndexKind.HNSW)
        table = Pgvector(os.environ[URL], IndexKind.HNSW, points.shape[1], settings)
        numbers = np.arange(len(points))
        for start in range(0, len(points), WRITTEN):
            rows = slice(start, start + WRITTEN)
            table.upsert(Stored(numbers[rows], np.array(points[rows]), numbers[rows]))
        table.build()
        table.close()

    def load(self, folder: Path, width: int) -> None:
        """Connect to the database."""
        settings = settings_in(folder, IndexKind.HNSW)
        self._table = Pgvector(os.environ[URL], IndexKind.HNSW, width, settings, stored=True)

    def search(self, queries: Vectors) -> list[list[int]]:
        """Search by one statement for each query."""
        return [self._table.search(query, None) for query in queries]


CONTENDERS: dict[str, Callable[[], Contender]] = {
    **{f"ours-{kind.value}": partial(Ours, kind) for kind in KINDS},
    "faiss": BareFaiss,
    "pgvector": OfPostgres,
}

if __name__ == "__main__":
    ours = {f"ours-{kind.value}": version("embedder") for kind in KINDS}
    run(CONTENDERS, {**ours, "faiss": version("faiss-cpu")})
