"""A closed index of two collections, whose files the tests damage, and its expected content."""

from __future__ import annotations

import numpy as np
import pytest

from embedder.index.contract.points import Metric, Points, Query, Spec
from embedder.index.vector_index import VectorIndex
from tests.unit.index.places import Place
from tests.unit.index.small_index import merge_all, save

COUNT, WIDTH = 40, 4
ROWS = np.random.default_rng(5).normal(0, 1, (COUNT, WIDTH)).astype(np.float32)
NAMES = [f"point-{number:03}" for number in range(COUNT)]


def reopened(place: Place) -> VectorIndex:
    """Open the index without background maintenance."""
    return VectorIndex(place.settings(), background=False)


def written(place: Place) -> Place:
    """Write collections "c" and "other", each of one saved segment; return the place."""
    index = reopened(place)
    for name in ("c", "other"):
        index.create(name, Spec(Metric.L2))
        index.upsert(name, Points(NAMES, ROWS, ["text"] * COUNT, [{"n": n} for n in range(COUNT)]))
        merge_all(index, name)
        save(index, name)
    index.close()
    return place


def flipped(data: bytes, place: int) -> bytes:
    """Return data with the bit at ``place`` flipped."""
    changed = bytearray(data)
    changed[place // 8] ^= 1 << place % 8
    return bytes(changed)


def content(index: VectorIndex) -> list[tuple[str, list[float], str | None, object]]:
    """Return all points of collection "c"; a search finds the same ones."""
    records = index.scroll("c", limit=1000, include=("vector", "text", "metadata")).records
    hits = index.search([Query("c", ROWS[0], 1000)])[0]
    assert {hit.id for hit in hits} == {record.id for record in records}
    for hit in hits:
        assert hit.score == pytest.approx(
            -float(np.linalg.norm(ROWS[NAMES.index(hit.id)] - ROWS[0])), abs=1e-5
        )
    return [
        (one.id, one.vector.tolist() if one.vector is not None else [], one.text, one.metadata)
        for one in records
    ]
