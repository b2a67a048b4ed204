"""An index with one collection, and settings with which it merges and saves often."""

from __future__ import annotations

from pathlib import Path

from embedder.core.types import Vectors
from embedder.index.contract.kinds import IndexKind
from embedder.index.contract.points import (
    CollectionInfo,
    Hit,
    Metric,
    PointField,
    Points,
    Query,
    Spec,
)
from embedder.index.vector_index import VectorIndex
from embedder.settings.model import IndexSettings
from tests.unit.index.stores import TESTED

ALL_FIELDS: tuple[PointField, ...] = ("text", "metadata", "vector")


def small_settings(directory: Path | None = None, **changed: object) -> IndexSettings:
    """Return settings with tiny thresholds: segments of 16 rows, graphs from 32 on.

    The store is that of the test, unless ``changed`` has the URL of a database.
    """
    given: dict[str, object] = {
        "directory": None if directory is None else str(directory),
        "url": None if "url" in changed else TESTED.url(directory),
        "delta_rows": 16,
        "min_indexed_rows": 32,
        "auto_hnsw_rows": 64,
        "reserve_bytes": 0,
    }
    return IndexSettings.model_validate(given | changed)


def save(index: VectorIndex, name: str) -> None:
    """Save all segments of a collection, as maintenance does where a start would take too long.

    Raises:
        OSError: the disk failed or is full.
    """
    collection = index._shard.find(name)
    with collection._maintaining:
        segments = collection._segments
        if segments is not None:
            segments.index.seal()
            while collection._save_next(segments, 0.0):
                pass


def merge_all(index: VectorIndex, name: str) -> None:
    """Merge all segments of a collection into one, as merges do in the long run.

    Raises:
        Stopped: the index is closing, or the collection was deleted.
    """
    collection = index._shard.find(name)
    with collection._maintaining:
        segments = collection._segments
        if segments is not None:
            segments.index.seal()
            segments.merge(segments.index.state.segments, collection.wait)


class SmallIndex:
    """An index with one collection, ``c``."""

    def __init__(
        self,
        metric: Metric = Metric.COSINE,
        kind: IndexKind = IndexKind.AUTO,
        settings: IndexSettings | None = None,
    ) -> None:
        self.index = VectorIndex(settings or small_settings(), background=False)
        self.index.create("c", Spec(metric, kind=kind))

    def describe(self) -> CollectionInfo:
        """Return the description of the collection."""
        return self.index.describe("c")

    def upsert(self, points: Points) -> int:
        """Upsert points."""
        return self.index.upsert("c", points)

    def search(self, queries: Vectors, top_k: int) -> list[list[Hit]]:
        """Return the nearest points of every query."""
        return self.index.search([Query("c", query, top_k) for query in queries])
