"""Sparse vectors are found with exact scores after any writes, and outlive a damaged block."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import replace
from typing import Any

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
from embedder.index.storage.postgres.rows import sparse_rows as postgres_rows
from embedder.index.storage.postgres.rows.sparse_rows import PostgresSparse
from embedder.index.storage.sqlite.rows import sparse_rows as sqlite_rows
from embedder.index.storage.sqlite.rows.sparse_rows import SqliteSparse
from tests.unit.index.storage.postgres.postgres_server import running_server

Execute = Callable[[str], object]

DOCS, OTHER = 1, 2

WEIGHTS = st.dictionaries(
    st.integers(0, 6) | st.just(2**31 - 1), st.floats(0.0, 10.0, width=32), max_size=5
)
PKS = st.integers(1, 6) | st.integers(BLOCK - 2, BLOCK + 2) | st.just(2**40)
WRITES = st.lists(st.dictionaries(PKS, st.none() | WEIGHTS, max_size=5), max_size=6)


class Rows:
    """The rows of an empty database, and the steps of writes."""

    def __init__(self, sparse: SqliteSparse | PostgresSparse, execute: Execute) -> None:
        self.sparse, self.execute = sparse, execute

    @property
    def totals(self) -> SparseTotals | None:
        """Return the stored totals."""
        return self.sparse.totals(DOCS)

    def found(self, query: Mapping[int, float]) -> dict[int, float]:
        """Return the scores by pk, which ascend."""
        vector = SparseVector.of(query)
        pks, found = scores(vector, self.sparse.postings(DOCS, vector.ids.tolist()))
        assert pks.tolist() == sorted(pks.tolist())
        return dict(zip(pks.tolist(), found.tolist(), strict=True))

    def write(self, points: Mapping[int, Mapping[int, float] | None]) -> None:
        """Store or remove the vectors of points."""
        vectors = [None if one is None else SparseVector.of(one) for one in points.values()]
        store_vectors(self.sparse, DOCS, list(points), vectors)

    def repair(self) -> None:
        """Take all steps that make blocks again."""
        while (totals := self.totals) is not None and totals.indexed < ALL:
            index_some(self.sparse, totals)

    def empty(self) -> None:
        """Delete all rows."""
        for table in ("totals", "vectors", "postings"):
            self.execute(f"DELETE FROM {self.prefix}sparse_{table}")

    @property
    def prefix(self) -> str:
        """Return what precedes the names of tables."""
        return "" if isinstance(self.sparse, SqliteSparse) else "embedder."


@contextmanager
def _sqlite() -> Iterator[Rows]:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as db:
        db.executescript(sqlite_rows.SPARSE)
        yield Rows(SqliteSparse(db, "memory"), db.execute)


@contextmanager
def _postgres() -> Iterator[Rows]:
    import psycopg

    with psycopg.connect(running_server().create_database(), autocommit=True) as db:
        db.execute("CREATE SCHEMA embedder")
        db.pgconn.exec_(postgres_rows.SPARSE.encode())

        def fetch(query: str, given: Sequence[object]) -> list[tuple[Any, ...]]:
            return db.execute(query.encode(), given, binary=True).fetchall()

        def execute(query: str, given: Sequence[object] = ()) -> object:
            return db.execute(query.encode(), given)

        yield Rows(PostgresSparse("database", fetch, execute), execute)


@pytest.fixture(scope="module", params=[_sqlite, _postgres])
def database(request: pytest.FixtureRequest) -> Iterator[Rows]:
    """Yield the tables of each store."""
    opened: Callable[[], AbstractContextManager[Rows]] = request.param
    with opened() as rows:
        yield rows


@pytest.fixture
def rows(database: Rows) -> Rows:
    """Return empty tables."""
    database.empty()
    return database


@settings(max_examples=40)
@given(writes=WRITES, query=WEIGHTS, damaged_at=st.integers(0, 5))
def test_scores_are_the_dot_products_after_any_writes_and_repairs(
    database: Rows,
    writes: list[dict[int, dict[int, float] | None]],
    query: dict[int, float],
    damaged_at: int,
) -> None:
    rows, model = database, dict[int, dict[int, float]]()
    rows.empty()
    for at, points in enumerate(writes):
        totals = rows.totals
        if at == damaged_at and totals is not None:
            rows.sparse.put_totals(replace(totals, indexed=DAMAGED))
        elif totals is not None and totals.indexed < ALL:
            index_some(rows.sparse, totals)  # writes between the steps of a repair
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
    totals = rows.totals
    assert len(model) == (totals.points if totals else 0)


def test_a_collection_without_sparse_vectors_has_no_totals(rows: Rows) -> None:
    rows.write({1: None})
    assert rows.totals is None


def test_a_vector_without_weights_is_counted_and_never_found(rows: Rows) -> None:
    rows.write({7: {}})
    assert rows.totals == SparseTotals(DOCS, 1)
    assert rows.found({1: 1.0}) == {}


def test_more_points_than_one_step_takes_are_all_found_again(rows: Rows) -> None:
    rows.write({pk: {3: float(pk)} for pk in range(1, 1027)})
    expected = {pk: 2.0 * pk for pk in range(1, 1027)}
    assert rows.found({3: 2.0}) == expected
    rows.sparse.put_totals(SparseTotals(DOCS, 1026, DAMAGED))
    rows.repair()
    assert rows.found({3: 2.0}) == expected


def test_a_damaged_block_is_never_scored_and_is_made_again(rows: Rows) -> None:
    rows.write({1: {3: 1.0}, 2: {4: 1.0}})
    rows.execute(f"UPDATE {rows.prefix}sparse_postings SET crc = crc + 1 WHERE term = '3'")
    with pytest.raises(DamagedBlock):
        rows.found({3: 1.0})
    rows.write({1: {5: 2.0}})
    assert rows.totals == SparseTotals(DOCS, 2, DAMAGED)
    rows.repair()
    assert rows.found({3: 1.0, 4: 1.0, 5: 1.0}) == {1: 2.0, 2: 1.0}


@pytest.mark.parametrize("change", ["crc = crc + 1", "pk = 9", "weights = 'another'"])
def test_a_damaged_vector_is_reported(rows: Rows, change: str) -> None:
    rows.write({1: {3: 1.0}})
    rows.execute(f"UPDATE {rows.prefix}sparse_vectors SET {change}")
    with pytest.raises(StorageDamaged):
        rows.sparse.vectors_after(DOCS, 0, 10)


def test_collections_are_apart(rows: Rows) -> None:
    rows.write({1: {3: 1.0}})
    store_vectors(rows.sparse, OTHER, [1, 2], [SparseVector.of({3: 5.0})] * 2)
    assert rows.found({3: 1.0}) == {1: 1.0}
    rows.sparse.put_totals(SparseTotals(DOCS, 1, DAMAGED))
    rows.repair()
    assert rows.found({3: 1.0}) == {1: 1.0}
    assert rows.sparse.postings(OTHER, [3])[3][0].tolist() == [1, 2]
