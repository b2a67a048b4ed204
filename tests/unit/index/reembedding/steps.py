"""Two models, the steps that re-embed a collection, and its expected content."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from embedder.index.contract.points import Metric, Points, Spec, StoredModel
from embedder.index.vector_index import VectorIndex
from tests.unit.index.small_index import small_settings

OLD = StoredModel("old", "1", "0" * 64, "mean")
NEW = StoredModel("new", "2", "1" * 64, "mean")
NEW_SPEC = Spec(Metric.L2, width=3, stored=NEW, identity="identity of the draft")

Texts = dict[str, "str | None"]
Row = tuple[str, "str | None", dict[str, Any], list[float]]
Vector = Callable[[str], list[float]]


def old_vector(text: str) -> list[float]:
    """Return the vector of a text by the old model."""
    return [len(text), 1.0]


def new_vector(text: str) -> list[float]:
    """Return the vector of a text by the new model."""
    return [1.0, 2.0, len(text)]


def points_of(texts: Texts, vector: Vector = old_vector) -> Points:
    """Return points with the vectors of one model."""
    vectors = np.array([vector(text or "") for text in texts.values()], np.float32)
    return Points(list(texts), vectors, list(texts.values()), [{"id": one} for one in texts])


def open_index(folder: Path) -> VectorIndex:
    """Open the index of a folder; create collection "c" if it is missing."""
    index = VectorIndex(small_settings(folder), background=False)
    if not index.collections():
        index.create("c", Spec(Metric.L2))
    return index


def fill_page(index: VectorIndex, identity: str) -> int:
    """Fill the staged collection with one page, and return the number of points."""
    points = index.outdated("c", identity, 0)
    if points:
        vectors = np.array([new_vector(one.text) for one in points], np.float32)
        index.fill_staged("c", identity, points, vectors)
    return len(points)


def complete(index: VectorIndex, *, dropping: bool = False, spec: Spec = NEW_SPEC) -> None:
    """Take all steps of a re-embedding, from any state."""
    info = index.describe("c")
    if info.stored is not None and info.stored.is_same(NEW):
        return
    identity = index.begin_staged("c", info.identity, spec).identity
    while fill_page(index, identity):
        pass
    index.freeze("c", identity, dropping)
    while fill_page(index, identity):
        pass
    index.switch("c", identity)


def content(index: VectorIndex) -> list[Row]:
    """Return all stored points in their order."""
    page = index.scroll("c", None, 1000, None, ("text", "metadata", "vector"))
    rows = [(one, one.vector) for one in page.records if one.vector is not None]
    assert len(rows) == len(page.records) == index.describe("c").count
    return [(one.id, one.text, one.metadata, vector.tolist()) for one, vector in rows]


def expected(texts: Texts, vector: Vector) -> list[Row]:
    """Return the expected `content`, without points that have no text."""
    return [
        (one, text, {"id": one}, vector(text)) for one, text in texts.items() if text is not None
    ]
