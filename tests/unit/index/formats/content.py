"""What the stored examples contain. Examples of earlier versions have it as well: do not change it.

Those of before sparse vectors lack the collection `WEIGHTED`.

All numbers are exact in float32, so that they are the same on every machine.
"""

from __future__ import annotations

import numpy as np

from embedder.core.types import Vectors
from embedder.index.contract.kinds import IndexKind
from embedder.index.contract.points import Metric, Points, Spec, StoredModel
from embedder.index.contract.sparse import SparseVector
from embedder.index.vector_index import VectorIndex
from embedder.settings.model import IndexSettings
from tests.unit.index.hostile_strings import HOSTILE_IDS

WIDTH = 8
DOCS, GONE, STAGED_ID = "docs", "gone-identity", "staged-identity"
MODEL = StoredModel("example", "revision", "0" * 64, "mean")
OTHER_MODEL = StoredModel("other", "revision", "1" * 64, "cls")
DELETED, OVERWRITTEN = ["d3", "d60"], "d5"
STAGED = 10
"""Points of ``docs`` that have a staged vector."""

KINDS = {
    "flat": (IndexKind.FLAT, Metric.DOT, 40),
    "hnsw": (IndexKind.HNSW, Metric.COSINE, 40),
    "ivf_flat": (IndexKind.IVF_FLAT, Metric.L2, 80),
    "ivf_sq8": (IndexKind.IVF_SQ8, Metric.L2, 80),
    "ivf_pq": (IndexKind.IVF_PQ, Metric.L2, 300),
}
"""Kind, metric and number of points of each collection without texts."""


WEIGHTED = "weighted"
"""A collection with sparse vectors."""

WEIGHTS: dict[str, dict[int, float] | None] = {
    f"w{number}": None if number % 3 == 2 else {number % 5: 0.5, 5 + number: number / 4}
    for number in range(20)
}


def settings_of(directory: str | None, url: str | None = None) -> IndexSettings:
    """Return settings with which few points make a segment of each kind."""
    given = {"directory": directory, "url": url, "min_indexed_rows": 32, "reserve_bytes": 0}
    return IndexSettings.model_validate(given | {"recovery_s": 1e-9})


def vectors(count: int, seed: int) -> Vectors:
    """Return distinct vectors float32[count, WIDTH] of small integers, none of them zero."""
    rows, columns = np.arange(count)[:, None], np.arange(WIDTH)[None, :]
    numbers = (rows * 7919 + columns * 104_729 + seed * 1_299_709 + rows * columns * 31) % 512
    return (numbers - 256.5).astype(np.float32)


def docs() -> dict[str, tuple[str | None, dict[str, object], list[float]]]:
    """Return text, metadata and vector of the points of ``docs`` by id, in insertion order."""
    ids = [f"d{number}" for number in range(80)] + [one for one in HOSTILE_IDS if one]
    rows = vectors(len(ids), 1).tolist()
    found: dict[str, tuple[str | None, dict[str, object], list[float]]] = {}
    for number, name in enumerate(ids):
        text = None if number % 5 == 4 else f"text {number} of {name}: ß \0 🙂"
        metadata: dict[str, object] = {"n": number, "é.$": [name, None, {"x": number / 4}]}
        found[name] = (text, {} if number % 7 == 6 else metadata, rows[number])
    found[OVERWRITTEN] = ("new", {"n": -1, "large": 2**63, "tiny": 5e-324}, [0.5] * WIDTH)
    for name in DELETED:
        del found[name]
    return found


def write(index: VectorIndex, kinds: dict[str, tuple[IndexKind, Metric, int]]) -> None:
    """Write the example: ``docs`` with a staged collection, a deleted one, one of each kind."""
    ids = [f"d{number}" for number in range(80)]
    earlier = {name: docs().get(name, ("old", {}, [1.0] * WIDTH)) for name in ids}
    earlier[OVERWRITTEN] = ("old", {}, [1.0] * WIDTH)
    earlier |= docs() | {OVERWRITTEN: earlier[OVERWRITTEN]}
    index.upsert(DOCS, _points(earlier), Spec(stored=MODEL, identity="docs-identity"))
    index.upsert(DOCS, _points({OVERWRITTEN: docs()[OVERWRITTEN]}))
    index.delete_points(DOCS, DELETED)
    index.create("gone", Spec(identity=GONE))
    index.delete("gone")
    spec = Spec(width=WIDTH, stored=OTHER_MODEL, identity=STAGED_ID)
    index.begin_staged(DOCS, "docs-identity", spec)
    page = index.outdated(DOCS, STAGED_ID, 0)[:STAGED]
    index.fill_staged(DOCS, STAGED_ID, page, vectors(STAGED, 2))
    weights = [None if one is None else SparseVector.of(one) for one in WEIGHTS.values()]
    texts = [f"text {name}" for name in WEIGHTS]
    weighted = Points(
        list(WEIGHTS), vectors(len(WEIGHTS), 9), texts, [{}] * len(WEIGHTS), sparse=weights
    )
    index.upsert(WEIGHTED, weighted, Spec(stored=MODEL, identity="weighted-identity"))
    for seed, (name, (kind, metric, count)) in enumerate(kinds.items(), 3):
        names = [f"{name}-{number}" for number in range(count)]
        points = Points(names, vectors(count, seed), [None] * count, [{}] * count)
        index.upsert(name, points, Spec(metric, kind, identity=f"{name}-identity"))


def _points(content: dict[str, tuple[str | None, dict[str, object], list[float]]]) -> Points:
    texts, metadata, rows = zip(*content.values(), strict=True)
    return Points(list(content), np.array(rows, np.float32), texts, metadata)
