"""A follower that applies the log has the points of the database, whoever writes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedder.index.storage.postgres.writing import upkeep
from embedder.index.storage.row_encoding import encode
from tests.unit.index.storage.postgres.points import named
from tests.unit.index.storage.postgres.postgres_server import PostgresServer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.unit.index.storage.postgres.open_database import OpenDatabase


class Follower:
    """The ids and vectors of a collection, by pk, as the log tells them."""

    def __init__(self, database: OpenDatabase, collection: int) -> None:
        self.sequence = 0
        self.points: dict[int, tuple[int, str, float]] = {}
        self._database = database
        self._collection = collection

    def follow(self, limit: int) -> bool:
        """Apply one page of the log, and return whether it was the last one."""
        found = self._database.changes(self._collection, self.sequence, limit)
        assert found is not None
        rows = zip(found.pairs.tolist(), found.ids, found.vectors, strict=True)
        for (pk, seq), name, vector in rows:
            assert self.sequence < seq <= found.sequence
            self.points[pk] = (seq, name, float(vector[0]))
        for pk in found.deleted.tolist():
            # A point that was stored and deleted after the last page was never seen.
            self.points.pop(pk, None)
        self.sequence = found.sequence
        return found.sequence == found.head


@pytest.fixture(scope="module")
def shared(server: PostgresServer) -> Iterator[OpenDatabase]:
    """Yield a database that all examples of a test share."""
    from tests.unit.index.storage.postgres.open_database import OpenDatabase

    shared = OpenDatabase(server.create_database())
    yield shared
    shared.close()


IDS = st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=5, unique=True)
STEPS = st.lists(st.tuples(st.sampled_from(["put", "delete", "follow"]), IDS), max_size=12)


@given(STEPS, st.integers(1, 4))
@settings(deadline=None)
def test_a_follower_has_all_points(
    shared: OpenDatabase, steps: list[tuple[str, list[str]]], limit: int
) -> None:
    row = shared.create(None)
    name = f"c{row.id}"
    shared.renamed(row, name)
    follower, expected = Follower(shared, row.id), dict[str, float]()
    for kind, ids in steps:
        if kind == "put":
            shared.put(named(*ids), name)
            expected |= {one: at + 1.0 for at, one in enumerate(ids)}
        elif kind == "delete":
            with shared.transaction() as transaction:
                pks = transaction.find_pks(row.id, ids)
            shared.delete(pks, name)
            expected = {one: value for one, value in expected.items() if one not in ids}
        else:
            follower.follow(limit)
    while not follower.follow(limit):
        pass

    assert {one: value for _, one, value in follower.points.values()} == expected
    pairs = shared.reader.pairs(row.id).tolist()
    assert pairs == [[pk, seq] for pk, (seq, *_) in sorted(follower.points.items())]


def test_a_page_holds_whole_writes(database: OpenDatabase) -> None:
    row = database.create()
    database.put(named("a"))
    database.put(named("b", "c", "d"))
    database.put(named("e"))

    found = database.changes(row.id, 0, 2)

    assert found is not None
    assert found.ids == ["a", "b", "c", "d"]
    assert (found.sequence, found.head) == (2, 3)


def test_a_follower_of_forgotten_deletions_reads_everything_again(
    database: OpenDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = database.create()
    pks = database.put(named("a", "b"))
    database.delete(pks[:1])
    database.put(named("c"))
    monkeypatch.setattr(upkeep, "KEPT_DELETIONS", 0)
    with database.transaction() as transaction:
        upkeep.forget_deletions(transaction)

    assert database.changes(row.id, 1, 9) is None
    found = database.changes(row.id, 2, 9)
    assert found is not None
    assert (found.ids, found.deleted.tolist()) == (["c"], [])


def test_a_collection_that_is_gone_has_no_changes(database: OpenDatabase) -> None:
    assert database.changes(77, 0, 9) is None


def test_a_number_is_not_visible_before_a_smaller_one(url: str, database: OpenDatabase) -> None:
    """A second process waits for the lock of the collection, and takes the next number."""
    import threading

    from tests.unit.index.storage.postgres.open_database import OpenDatabase
    from tests.unit.waiting import LONG_S, eventually

    row = database.create()
    other = OpenDatabase(url)
    second = threading.Thread(target=other.put, args=(named("b", "a"),))
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
    with database.transaction() as transaction:
        found = transaction.find_collection("c")
        assert found is not None
        transaction.upsert(found, encode(named("a")))
        second.start()

        def waits() -> bool:
            with database.snapshot() as snapshot:
                ((count,),) = snapshot.rows(waiting)
            return bool(count == 1)

        assert eventually(waits)
        # Readers do not wait, and see neither write.
        assert database.find().sequence == 0
    second.join(LONG_S)

    changes: Any = database.changes(row.id, 0, 9)
    assert (changes.sequence, changes.head) == (2, 2)
    assert changes.pairs.tolist() == [[1, 2], [2, 2]]
    assert sorted(changes.ids) == ["a", "b"]
    assert database.find().count == 2
    other.close()
