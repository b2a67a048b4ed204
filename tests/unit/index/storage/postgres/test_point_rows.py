"""Points of any Unicode come back unchanged, in the order of their insertion."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedder.core.errors import InvalidVector, LimitExceeded
from embedder.core.storage_errors import StorageDamaged
from embedder.index.contract.filter_parsing import parse
from embedder.index.contract.points import PAYLOAD
from embedder.index.contract.response_budget import ResponseBudget
from tests.unit.index.contract.filter_oracle import matches
from tests.unit.index.contract.filter_strategies import METADATA, filters
from tests.unit.index.hostile_strings import ANY_TEXT, HOSTILE_IDS, IDS
from tests.unit.index.storage.postgres.points import Stored, named, points_of
from tests.unit.index.storage.postgres.postgres_server import PostgresServer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.unit.index.storage.postgres.open_database import OpenDatabase

STORED = st.dictionaries(IDS, st.tuples(st.none() | ANY_TEXT, METADATA), min_size=1, max_size=8)


@pytest.fixture(scope="module")
def shared(server: PostgresServer) -> Iterator[OpenDatabase]:
    """Yield a database that all examples of a test share."""
    from tests.unit.index.storage.postgres.open_database import OpenDatabase

    shared = OpenDatabase(server.create_database())
    yield shared
    shared.close()


@given(STORED, st.data())
@settings(max_examples=50, deadline=None)
def test_every_string_is_stored_unchanged(
    shared: OpenDatabase, stored: Stored, data: st.DataObject
) -> None:
    row = shared.create(None)
    shared.renamed(row, f"c{row.id}")
    pks = shared.put(points_of(stored), f"c{row.id}")
    written = data.draw(filters(next(iter(stored.values()))[1]))
    condition, reader = parse(written), shared.reader

    assert pks == sorted(set(pks))
    page, more = reader.page(row.id, 0, 100, None, ResponseBudget())
    assert not more
    assert {one.id: (one.text, orjson.loads(one.metadata)) for one in page} == stored
    assert [one.pk for one in page] == pks
    assert {one.id for one in reader.by_ids(row.id, list(stored), ResponseBudget())} == set(stored)
    pairs, names, vectors = reader.vectors(row.id, np.array(pks[::-1]), 2)
    assert names == list(stored)[::-1]
    assert vectors.tolist() == points_of(stored).vectors[::-1].tolist()
    assert pairs.tolist() == [[pk, 1] for pk in pks[::-1]]
    found = [pk for pk, (_, one) in zip(pks, stored.values(), strict=True) if matches(written, one)]
    assert reader.count(row.id, condition) == len(found)
    assert sorted(reader.matching(row.id, condition)[0][:, 0].tolist()) == found
    with shared.transaction() as transaction:
        assert transaction.matching_pks(row.id, condition) == found
        assert transaction.find_pks(row.id, list(stored)) == pks


def test_hostile_ids_are_distinct(database: OpenDatabase) -> None:
    database.create()

    pks = database.put(named(*HOSTILE_IDS))

    assert len(set(pks)) == len(HOSTILE_IDS)
    assert database.put(named(*HOSTILE_IDS)) == pks
    assert database.find().count == len(HOSTILE_IDS)


def test_an_overwritten_point_keeps_its_pk_and_a_deleted_one_loses_it(
    database: OpenDatabase,
) -> None:
    database.create()
    first = database.put(named("a", "b", "c"))
    again = database.put(named("d", "b"))
    database.delete([first[0]])
    last = database.put(named("a"))

    assert first == [1, 2, 3]
    assert again == [4, 2]
    assert last == [6]
    row = database.find()
    assert (row.sequence, row.count, row.width) == (4, 4, 2)
    assert database.reader.pairs(row.id).tolist() == [[2, 2], [3, 1], [4, 2], [6, 4]]


def test_a_vector_of_another_width_is_refused(database: OpenDatabase) -> None:
    database.create()
    database.put(named("a"))

    with pytest.raises(InvalidVector, match="has 3 components; the collection has 2"):
        database.put(points_of({"b": (None, {})}, width=3))
    assert database.find().count == 1


@pytest.mark.parametrize("include", [(), ("text",), PAYLOAD])
def test_a_page_ends_where_the_budget_does(database: OpenDatabase, include: Any) -> None:
    """As if all points had been read, although the database keeps those beyond the budget."""
    row = database.create()
    stored: Stored = {str(n): ("\n" * n * 40, {"a": "é" * n}) for n in range(30)}
    database.put(points_of(stored))
    everything = database.reader.page(row.id, 0, 100, None, ResponseBudget())[0]

    for most in (1, 96, 300, 1000, 3000, 10_000, None):
        found = database.reader.page(row.id, 0, 9, None, ResponseBudget(include, max_bytes=most))
        expected = ResponseBudget(include, max_bytes=most).page(everything[:10], 9)
        assert [one.pk for one in found[0]] == [one.pk for one in expected[0]]
        assert found[1] is expected[1]


def test_points_beyond_the_budget_are_refused(database: OpenDatabase) -> None:
    row = database.create()
    pks = database.put(points_of({str(n): ("x" * 100, {}) for n in range(9)}))

    for read in (
        lambda budget: database.reader.payloads(row.id, pks, budget),
        lambda budget: database.reader.by_ids(row.id, list("012345678"), budget),
    ):
        assert len(read(ResponseBudget(max_bytes=9 * 200))) == 9
        with pytest.raises(LimitExceeded):
            read(ResponseBudget(max_bytes=500))


DAMAGE = [
    "UPDATE embedder.points SET text = 'x'",
    "UPDATE embedder.points SET text = '\\xff'",
    "UPDATE embedder.points SET id = '\\xff'",
    "UPDATE embedder.points SET metadata = '{\"a\": 2}'",
    "UPDATE embedder.points SET seq = 7",
]


@pytest.mark.parametrize("statement", DAMAGE)
def test_a_damaged_point_is_reported(database: OpenDatabase, statement: str) -> None:
    row = database.create()
    database.put(points_of({"a": ("t", {"a": 1})}))
    database.execute(statement)

    with pytest.raises(StorageDamaged, match="of collection '' is damaged"):
        database.reader.page(row.id, 0, 9, None, ResponseBudget())
    with pytest.raises(StorageDamaged), database.snapshot() as snapshot:
        list(snapshot.scan(database.find()))


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE embedder.vectors SET vector = '\\x0000000000000000'",
        "UPDATE embedder.vectors SET vector = '\\x00'",
        "DELETE FROM embedder.vectors",
    ],
)
def test_a_damaged_vector_is_reported(database: OpenDatabase, statement: str) -> None:
    row = database.create()
    pks = database.put(named("a"))
    database.execute(statement)

    with pytest.raises(StorageDamaged, match="of collection '' is damaged"):
        database.reader.vectors(row.id, np.array(pks), 2)
    with pytest.raises(StorageDamaged):
        database.changes(row.id, 0, 9)


def test_a_pk_that_would_be_assigned_twice_is_reported(database: OpenDatabase) -> None:
    database.create()
    database.put(named("a"))
    database.execute("UPDATE embedder.collections SET next_pk = 1")
    from embedder.index.storage.postgres.connection.error_codes import translate_database_errors

    with pytest.raises(StorageDamaged), translate_database_errors(database.location):
        database.put(named("b"))
    found = database.reader.by_ids(database.find().id, ["a", "b"], ResponseBudget())
    assert [one.id for one in found] == ["a"]


def test_a_scan_returns_encoded_rows(database: OpenDatabase) -> None:
    database.create()
    points = points_of({"a\0": ("t\0", {"k\0": [1.5, "\x01"]}), "b": (None, {})})
    database.put(points)

    with database.snapshot() as snapshot:
        (rows,) = snapshot.scan(database.find())
    assert (rows.ids, rows.texts) == (list(points.ids), list(points.texts))
    assert [orjson.loads(one) for one in rows.metadata] == list(points.metadata)
    assert rows.vectors.tolist() == points.vectors.tolist()
    assert [bytes(one) for one in rows.blobs] == [one.tobytes() for one in points.vectors]
