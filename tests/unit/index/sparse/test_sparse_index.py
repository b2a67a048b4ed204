"""Sparse vectors are found with exact scores after any writes, and outlive a damaged block."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedder.core.storage_errors import StorageDamaged
from embedder.index.contract.sparse import SparseVector
from embedder.index.lexical.blocks import BLOCK, DamagedBlock
from embedder.index.sparse.dot_product import scores
from embedder.index.sparse.sparse_index import (
    ALL,
    DAMAGED,
    SparseTotals,
    index_some,
    store_vectors,
)
from embedder.index.storage.sqlite.sparse_rows import SPARSE, SqliteSparse

DOCS, OTHER = 1, 2

WEIGHTS = st.dictionaries(
    st.integers(0, 6) | st.just(2**31 - 1), st.floats(0.0, 10.0, width=32), max_size=5
)
PKS = st.integers(1, 6) | st.integers(BLOCK - 2, BLOCK + 2) | st.just(2**40)
WRITES = st.lists(st.dictionaries(PKS, st.none() | WEIGHTS, max_size=5), max_size=6)


class Rows(SqliteSparse):
    """The rows of a database in memory."""

    def __init__(self) -> None:
        self.db = sqlite3.connect(":memory:", isolation_level=None)
        self.db.executescript(SPARSE)
        super().__init__(self.db, "memory")

    def found(self, query: Mapping[int, float]) -> dict[int, float]:
        """Return the scores by pk, which ascend."""
        vector = _vector(query)
        pks, found = scores(vector, self.postings(DOCS, vector.ids.tolist()))
        assert pks.tolist() == sorted(pks.tolist())
        return dict(zip(pks.tolist(), found.tolist(), strict=True))

    def write(self, points: Mapping[int, Mapping[int, float] | None]) -> None:
        """Store or remove the vectors of points."""
        vectors = [None if one is None else _vector(one) for one in points.values()]
        store_vectors(self, DOCS, list(points), vectors)

    def repair(self) -> None:
        """Take all steps that make blocks again."""
        while (totals := self.totals(DOCS)) is not None and totals.indexed < ALL:
            index_some(self, totals)


@pytest.fixture
def rows() -> Rows:
    """Return empty tables."""
    return Rows()


def _vector(weights: Mapping[int, float]) -> SparseVector:
    ids = sorted(weights)
    return SparseVector(
        np.array(ids, np.int32), np.array([weights[one] for one in ids], np.float32)
    )


@settings(max_examples=50)
@given(WRITES, WEIGHTS, st.integers(0, 5))
def test_scores_are_the_dot_products_after_any_writes_and_repairs(
    writes: list[dict[int, dict[int, float] | None]], query: dict[int, float], damaged_at: int
) -> None:
    rows, model = Rows(), dict[int, dict[int, float]]()
    for at, points in enumerate(writes):
        totals = rows.totals(DOCS)
        if at == damaged_at and totals is not None:
            rows.put_totals(replace(totals, indexed=DAMAGED))
        elif totals is not None and totals.indexed < ALL:
            index_some(rows, totals)  # writes between the steps of a repair
        rows.write(points)
        for pk, one in points.items():
            model.pop(pk, None)
            if one is not None:
                model[pk] = one
    rows.repair()
    expected = {
        pk: sum(query[one] * weights[one] for one in sorted(query.keys() & weights.keys()))
        for pk, weights in model.items()
        if query.keys() & weights.keys()
    }
    # Equal to the last bit: a loop over Python floats adds in the same order.
    assert rows.found(query) == expected
    totals = rows.totals(DOCS)
    assert len(model) == (totals.points if totals else 0)


def test_a_collection_without_sparse_vectors_has_no_totals(rows: Rows) -> None:
    rows.write({1: None})
    assert rows.totals(DOCS) is None


def test_a_vector_without_weights_is_counted_and_never_found(rows: Rows) -> None:
    rows.write({7: {}})
    assert rows.totals(DOCS) == SparseTotals(DOCS, 1)
    assert rows.found({1: 1.0}) == {}


def test_more_points_than_one_step_takes_are_all_found_again(rows: Rows) -> None:
    rows.write({pk: {3: float(pk)} for pk in range(1, 1027)})
    expected = {pk: 2.0 * pk for pk in range(1, 1027)}
    assert rows.found({3: 2.0}) == expected
    rows.put_totals(SparseTotals(DOCS, 1026, DAMAGED))
    rows.repair()
    assert rows.found({3: 2.0}) == expected


def test_a_damaged_block_is_never_scored_and_is_made_again(rows: Rows) -> None:
    rows.write({1: {3: 1.0}, 2: {4: 1.0}})
    rows.db.execute("UPDATE sparse_postings SET crc = crc + 1 WHERE term = '3'")
    with pytest.raises(DamagedBlock):
        rows.found({3: 1.0})
    rows.write({1: {5: 2.0}})
    assert rows.totals(DOCS) == SparseTotals(DOCS, 2, DAMAGED)
    rows.repair()
    assert rows.found({3: 1.0, 4: 1.0, 5: 1.0}) == {1: 2.0, 2: 1.0}


@pytest.mark.parametrize(
    "change", ["crc = crc + 1", "pk = 9", "weights = x'0000000000000000'", "weights = 'text'"]
)
def test_a_damaged_vector_is_reported(rows: Rows, change: str) -> None:
    rows.write({1: {3: 1.0}})
    rows.db.execute(f"UPDATE sparse_vectors SET {change}")
    with pytest.raises(StorageDamaged):
        rows.vectors_after(DOCS, 0, 10)


def test_collections_are_apart(rows: Rows) -> None:
    rows.write({1: {3: 1.0}})
    store_vectors(rows, OTHER, [1, 2], [_vector({3: 5.0})] * 2)
    assert rows.found({3: 1.0}) == {1: 1.0}
    rows.put_totals(SparseTotals(DOCS, 1, DAMAGED))
    rows.repair()
    assert rows.found({3: 1.0}) == {1: 1.0}
    assert rows.postings(OTHER, [3])[3][0].tolist() == [1, 2]
