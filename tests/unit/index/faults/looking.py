"""What an index shows of its points: pages and searches agree, and no point comes twice."""

from __future__ import annotations

import numpy as np

from embedder.index.contract.points import Query
from embedder.index.vector_index import VectorIndex
from tests.unit.index.faults.client_record import Seen
from tests.unit.index.faults.steps import WIDTH, Stored, owner
from tests.unit.index.places import Place


def look(index: VectorIndex) -> Seen:
    """Return the vectors of all points, which pages and a search both return."""
    assert index.stats().status == "ready", index.stats()
    return {info.name: _points(index, info.name) for info in index.collections()}


def look_once(place: Place) -> Seen:
    """Open an index, and return what it shows."""
    index = VectorIndex(place.settings(recovery_s=0.01), background=False)
    try:
        return look(index)
    finally:
        index.close()


def _points(index: VectorIndex, name: str) -> Stored:
    records = index.scroll(name, limit=1000, include=("vector", "text", "metadata")).records
    ids = [record.id for record in records]
    hits = index.search([Query(name, np.ones(WIDTH, np.float32), 1000)])[0] if ids else []
    found = {hit.id for hit in hits}

    assert len(set(ids)) == len(ids) == index.count(name) == len(hits) == len(found)
    assert found == set(ids)
    stored: Stored = {}
    for record in records:
        assert record.vector is not None
        vector = [int(component) for component in record.vector]
        stored[record.id] = vector
        assert record.text == str(vector)
        assert record.metadata == {"sum": sum(vector), "by": owner(record.id)}
    for hit in hits:
        distance = np.linalg.norm(np.array(stored[hit.id]) - 1.0)
        assert abs(hit.score + distance) < 1e-4, (hit, stored[hit.id])
    return stored
