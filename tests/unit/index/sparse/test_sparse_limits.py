"""Sparse vectors and queries that no index can store or answer are refused by their field."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from embedder.core.errors import InvalidInput, LimitExceeded
from embedder.core.storage_errors import StaleCollection
from embedder.index.contract.limits import MAX_SPARSE_IDS, MAX_TOP_K
from embedder.index.contract.points import Points
from embedder.index.contract.sparse import SparseVector
from embedder.index.contract.sparse_queries import SparseQuery
from embedder.index.vector_index import VectorIndex
from tests.unit.index.places import PLACES, Place
from tests.unit.index.reembedding.steps import NEW, OLD
from tests.unit.index.sparse.sparse_oracle import Content, points_of


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    place = PLACES[request.param](tmp_path / "index")
    yield place
    place.discard()


def _filled(place: Place, content: Content) -> VectorIndex:
    index = VectorIndex(place.settings(), background=False)
    index.upsert("c", points_of(content))
    return index


def _bad_vectors() -> Sequence[tuple[str, SparseVector]]:
    ids, weights = np.arange(2, dtype=np.int32), np.ones(2, np.float32)
    many = MAX_SPARSE_IDS + 1
    return [
        ("ids with a weight", SparseVector(np.arange(many, dtype=np.int32), np.ones(many, "f4"))),
        ("do not ascend", SparseVector(ids[::-1], weights)),
        ("do not ascend", SparseVector(np.array([3, 3], np.int32), weights)),
        ("negative", SparseVector(np.array([-1, 3], np.int32), weights)),
        ("not finite", SparseVector(ids, np.array([1, np.inf], np.float32))),
        ("2 ids and 1 weights", SparseVector(ids, weights[:1])),
    ]


def test_what_cannot_be_stored_or_searched_is_refused(place: Place) -> None:
    many = SparseVector(np.arange(MAX_SPARSE_IDS, dtype=np.int32), np.ones(MAX_SPARSE_IDS, "f4"))
    with closing(_filled(place, {"a": {1: 1.0}, "b": {1: 1.0}})) as index:
        for problem, vector in _bad_vectors():
            point = Points(["x"], np.ones((1, 2), np.float32), ["t"], [{}], sparse=[vector])
            with pytest.raises(InvalidInput, match=problem) as stored:
                index.upsert("c", point)
            with pytest.raises(InvalidInput, match=problem) as searched:
                index.search_sparse([SparseQuery("c", vector, 1, field="queries[1].text")])
            assert (stored.value.field, searched.value.field) == (
                "points[0].text",
                "queries[1].text",
            )
        index.search_sparse([SparseQuery("c", many, 1)])
        for top_k in (0, MAX_TOP_K + 1):
            with pytest.raises(InvalidInput, match="top_k"):
                index.search_sparse([SparseQuery("c", many, top_k)])
        with pytest.raises(LimitExceeded, match="top_k"):
            index.search_sparse([SparseQuery("c", many, 2, max_bytes=50)])
        with pytest.raises(StaleCollection):
            index.search_sparse([SparseQuery("c", many, 2, identity="another")])
        index.record_model("c", None, OLD)
        index.search_sparse([SparseQuery("c", many, 2, model=OLD)])
        with pytest.raises(StaleCollection):
            index.search_sparse([SparseQuery("c", many, 2, model=NEW)])
