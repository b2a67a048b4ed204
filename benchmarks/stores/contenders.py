"""The contenders that run in this process: the index with each store, and bare FAISS."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from benchmarks.index_loads import merge_all
from benchmarks.stores.points import METRIC, TOP, Points
from embedder.core.types import Vectors
from embedder.index.contract import points as contract
from embedder.index.contract.filter_parsing import parse
from embedder.index.contract.kinds import IndexKind
from embedder.index.contract.points import Query, Spec
from embedder.index.segments.scoring import normalize
from embedder.index.vector_index import VectorIndex
from embedder.settings.model import IndexSettings


class Contender(Protocol):
    """Stores points, and finds the nearest ones.

    ``kind`` is FLAT where it compares a query with every point, and HNSW where it has a graph.
    """

    name: str
    kind: IndexKind
    keeps: bool
    """Whether an upserted point is on the disk."""

    def upsert(self, points: Points) -> None:
        """Store points."""

    def build(self) -> None:
        """Build the index of the stored points."""

    def search(self, query: Vectors, below: int | None) -> list[int]:
        """Return the numbers of the `TOP` nearest points, of those whose value is below."""


class OwnIndex:
    """A collection of the index of this project."""

    keeps = True

    def __init__(self, name: str, kind: IndexKind, index: VectorIndex) -> None:
        self.name, self.kind, self._index = name, kind, index
        index.create(kind.value, Spec(METRIC, kind=kind))

    def upsert(self, points: Points) -> None:
        """Store points by the public method."""
        count = len(points)
        metadata: list[dict[str, Any]] = [{"n": value} for value in points.values.tolist()]
        given = contract.Points(
            [str(number) for number in points.numbers], points.vectors, [None] * count, metadata
        )
        self._index.upsert(self.kind.value, given)

    def build(self) -> None:
        """Merge all segments into one, as merges do in the long run."""
        merge_all(self._index, self.kind.value)

    def search(self, query: Vectors, below: int | None) -> list[int]:
        """Search by the public method, for ids and scores."""
        condition = None if below is None else parse({"n": {"$lt": below}})
        asked = Query(self.kind.value, query, TOP, filter=condition, include=())
        (hits,) = self._index.search([asked])
        return [int(hit.id) for hit in hits]


class BareFaiss:
    """A FAISS index with the parameters of ours; what it holds is lost with the process."""

    keeps = False

    def __init__(self, kind: IndexKind, width: int, settings: IndexSettings) -> None:
        import faiss

        self.name, self.kind = "bare FAISS", kind
        self._settings = settings
        self._rows: list[Points] = []
        self._values = np.empty(0, np.int64)
        self._index: Any = faiss.IndexFlatIP(width)
        if kind is IndexKind.HNSW:
            inner = faiss.METRIC_INNER_PRODUCT
            self._index = faiss.IndexHNSWFlat(width, settings.hnsw_m, inner)
            self._index.hnsw.efConstruction = settings.hnsw_ef_construction

    def upsert(self, points: Points) -> None:
        """Keep new points in memory; their numbers continue those before."""
        self._rows.append(points)

    def build(self) -> None:
        """Add the points to the FAISS index."""
        import faiss

        faiss.omp_set_num_threads(self._settings.build_threads)
        vectors = np.concatenate([part.vectors for part in self._rows])
        values = [self._values, *(part.values for part in self._rows)]
        self._index.add(normalize(METRIC, vectors))
        self._values, self._rows = np.concatenate(values), []

    def search(self, query: Vectors, below: int | None) -> list[int]:
        """Search by FAISS alone; the filter is a bitmap of positions."""
        import faiss

        faiss.omp_set_num_threads(self._settings.search_threads)
        given: dict[str, Any] = {}
        if below is not None:
            bits = np.packbits(self._values < below, bitorder="little")
            given["sel"] = faiss.IDSelectorBitmap(bits)
        if self.kind is IndexKind.HNSW:
            given["efSearch"] = self._settings.hnsw_ef_search
            params = faiss.SearchParametersHNSW(**given)
        else:
            params = faiss.SearchParameters(**given)
        _, found = self._index.search(normalize(METRIC, query[None]), TOP, params=params)
        return [number for number in found[0].tolist() if number >= 0]
