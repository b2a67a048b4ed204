"""What an index shows of its points: pages and searches agree, and no point comes twice.

The index of texts has exactly the terms of the stored texts.
"""

from __future__ import annotations

import numpy as np

from embedder.index.contract.points import Query
from embedder.index.contract.response_budget import ResponseBudget
from embedder.index.vector_index import VectorIndex
from tests.unit.index.faults.client_record import Seen
from tests.unit.index.faults.steps import WIDTH, Stored, owner
from tests.unit.index.places import Place
from tests.unit.index.texts.text_oracle import check_index


def look(index: VectorIndex) -> Seen:
    """Return the vectors of all points, which pages and a search both return."""
    assert index.stats().status == "ready", index.stats()
    names = [info.name for info in index.collections()]
    for name in names:
        check_texts(index, name)
    return {name: _points(index, name) for name in names}


def check_texts(index: VectorIndex, name: str) -> None:
    """Compare the index of the texts of a collection with its stored texts, at one moment."""
    collection = index._shard.find(name).id
    with index._shard.store.pinned() as reader:
        pks = reader.pairs(collection)[:, 0].tolist()
        stored = reader.payloads(collection, pks, ResponseBudget(("text",)))
        check_index(reader, collection, {pk: one.text for pk, one in stored.items()})


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
