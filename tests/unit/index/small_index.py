"""An index that holds one collection, and settings that make rare work common."""

from __future__ import annotations

from pathlib import Path

from embedder.core.types import Vectors
from embedder.index.contract.kinds import IndexKind
from embedder.index.contract.points import CollectionInfo, Hit, Metric, Points, Query
from embedder.index.vector_index import VectorIndex
from embedder.settings.model import IndexSettings


def small_settings(directory: Path | None = None, **changed: object) -> IndexSettings:
    """Return settings with tiny thresholds: segments of 16 rows, graphs from 32 on."""
    given: dict[str, object] = {
        "directory": None if directory is None else str(directory),
        "delta_rows": 16,
        "min_indexed_rows": 32,
        "auto_hnsw_rows": 64,
        "reserve_bytes": 0,
    }
    return IndexSettings.model_validate(given | changed)


class SmallIndex:
    """A collection ``c`` in an index of its own."""

    def __init__(
        self,
        metric: Metric = Metric.COSINE,
        kind: IndexKind = IndexKind.AUTO,
        settings: IndexSettings | None = None,
    ) -> None:
        self.index = VectorIndex(settings or small_settings(), background=False)
        self.index.create("c", metric, kind=kind)

    def describe(self) -> CollectionInfo:
        """Return what is known of the collection."""
        return self.index.describe("c")

    def upsert(self, points: Points) -> int:
        """Set points."""
        return self.index.upsert("c", points)

    def search(self, queries: Vectors, top_k: int) -> list[list[Hit]]:
        """Return the nearest points of every query."""
        return self.index.search([Query("c", query, top_k) for query in queries])
