"""Writes of several stores are ordered, and those that the database refuses fail alone."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextvars import copy_context

import pytest

from embedder.core.cancellation import Cancellation, Cancelled
from embedder.core.errors import InvalidInput, StageUnavailable
from embedder.core.storage_errors import StorageDamaged, StorageFull, StorageReadOnly
from embedder.index.contract.points import Spec
from embedder.index.storage.protocol import Effect, Store, Transaction
from embedder.index.storage.records import CollectionRow
from tests.unit.index.storage.contract.stores import commit, held
from tests.unit.waiting import LONG_S

pytest.importorskip("psycopg", reason="psycopg is not installed")

import psycopg

from embedder.index.storage.postgres.connection import limited_connection
from embedder.index.storage.postgres.transaction import PostgresTransaction
from embedder.index.storage.postgres.writing import committer
from tests.unit.index.storage.postgres.open_store import commits, end_sessions, opened, put, stored


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no test depend on the speed of the machine."""
    monkeypatch.setattr(committer, "PATIENCE_S", LONG_S)
    monkeypatch.setattr(limited_connection, "STOP_S", LONG_S)


def _raising(code: str) -> Callable[[Transaction], Effect[None]]:
    """Return a write in which the server raises an error with a code."""

    def write(rows: Transaction) -> Effect[None]:
        assert isinstance(rows, PostgresTransaction)
        rows.db.execute(f"DO $$ BEGIN RAISE 'as asked' USING ERRCODE = '{code}'; END $$")
        return lambda: None

    return write


def test_a_group_of_writes_shares_a_commit(url: str) -> None:
    with opened(url) as store:
        put(store, "a").result(LONG_S)
        before = commits(url)
        with held(store):
            written = [put(store, f"p{number:02}") for number in range(20)]
        assert [one.result(LONG_S) for one in written] == list(range(2, 22))

        assert commits(url) == before + 2, "of the held write, and of the group"
        assert stored(store) == (["a", *(f"p{number:02}" for number in range(20))], 21)


def test_a_write_that_fails_in_a_group_takes_no_other_with_it(url: str) -> None:
    def write(rows: Transaction) -> Effect[None]:
        row = rows.find_collection("c")
        assert row is not None
        rows.delete_collection(row)
        rows.insert_collection("d", Spec())
        raise InvalidInput("points", "is refused")

    with opened(url) as store:
        with held(store):
            first, failing, last = put(store, "a"), store.submit(write), put(store, "b")
        with pytest.raises(InvalidInput):
            failing.result(LONG_S)

        assert (first.result(LONG_S), last.result(LONG_S)) == (1, 2)
        assert stored(store) == (["a", "b"], 2)
        assert [row.name for row in store.collections()] == ["c"]


@pytest.mark.parametrize(
    ("code", "expected"),
    [("53100", StorageFull), ("22000", psycopg.DataError)],
)
def test_a_refusal_of_the_database_fails_one_write_of_a_group(
    url: str, code: str, expected: type[Exception]
) -> None:
    with opened(url) as store:
        with held(store):
            first, failing, last = put(store, "a"), store.submit(_raising(code)), put(store, "b")
        with pytest.raises(expected):
            failing.result(LONG_S)

        assert (first.result(LONG_S), last.result(LONG_S)) == (1, 2)
        assert store.refusal is None
        assert put(store, "d").result(LONG_S) == 3
        assert stored(store) == (["a", "b", "d"], 3)


def test_damage_that_the_database_reports_refuses_all_later_writes(url: str) -> None:
    with opened(url) as store:
        with pytest.raises(StorageDamaged):
            store.submit(_raising("XX001")).result(LONG_S)

        with pytest.raises(StorageDamaged):
            put(store, "a")
        assert isinstance(store.refusal, StorageDamaged)
        assert stored(store) == ([], 0)


def test_a_database_that_only_reads_refuses_writes_until_it_takes_them_again(url: str) -> None:
    with opened(url) as store:
        put(store, "a").result(LONG_S)
        _set_read_only(url, "on")
        for _ in range(2):
            with pytest.raises(StorageReadOnly, match="takes no writes at present"):
                put(store, "b").result(LONG_S)
        assert store.refusal is None

        _set_read_only(url, "off")
        assert put(store, "c").result(LONG_S) == 2
        assert stored(store) == (["a", "c"], 2)


def test_stores_that_take_one_name_at_once_make_one_collection(url: str) -> None:
    def create(store: Store) -> Future[int]:
        def write(rows: Transaction) -> Effect[int]:
            row = rows.find_collection("d") or rows.insert_collection("d", Spec())
            return lambda: row.id

        return store.submit(write)

    with opened(url) as first, opened(url, creating=False) as second:
        for _ in range(5):
            with held(first), held(second):
                created = [create(one) for one in (first, second, first, second)]
            assert len({one.result(LONG_S) for one in created}) == 1
            commit(first, lambda rows: rows.delete_collection(_found(rows)))


def test_writes_of_two_stores_to_one_collection_are_ordered(url: str) -> None:
    with opened(url) as first, opened(url, creating=False) as second:
        written = [
            put(store, f"{number}-{turn}")
            for turn in range(20)
            for number, store in enumerate((first, second))
        ]
        assert sorted(one.result(LONG_S) for one in written) == list(range(1, 41))

        ids, sequence = stored(first)
        assert sorted(ids) == sorted(f"{one}-{turn}" for one in range(2) for turn in range(20))
        assert sequence == 40


def test_a_write_that_another_one_blocks_is_refused_in_time(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(url) as store, psycopg.connect(url) as other:
        put(store, "a").result(LONG_S)
        other.execute("SELECT FROM embedder.collections FOR UPDATE")
        commit(store, lambda rows: rows.db.execute("SET lock_timeout = '10ms'"))  # type: ignore[attr-defined]
        monkeypatch.setattr(committer, "PATIENCE_S", 0.2)
        with pytest.raises(StageUnavailable) as raised:
            put(store, "b").result(LONG_S)
        assert "other writes came first" in raised.value.reason
        other.rollback()

        assert put(store, "c").result(LONG_S) == 2


def test_a_cancelled_write_that_waits_for_another_one_ends(url: str) -> None:
    cancellation, context = Cancellation(), copy_context()
    context.run(cancellation.enter)
    begun = threading.Event()

    def write(rows: Transaction) -> Effect[None]:
        begun.set()
        rows.find_collection("c")
        return lambda: None

    with opened(url) as store, psycopg.connect(url) as other:
        other.execute("SELECT FROM embedder.collections FOR UPDATE")
        waiting = context.run(store.submit, write)
        assert begun.wait(LONG_S)
        cancellation.request()
        assert isinstance(waiting.exception(LONG_S), Cancelled)
        other.rollback()

        assert put(store, "a").result(LONG_S) == 1


def _found(rows: Transaction) -> CollectionRow:
    row = rows.find_collection("d")
    assert row is not None
    return row


def _set_read_only(url: str, value: str) -> None:
    with psycopg.connect(
        url, autocommit=True, options="-c default_transaction_read_only=off"
    ) as db:
        db.execute(f"ALTER DATABASE {db.info.dbname} SET default_transaction_read_only = {value}")
    end_sessions(url)
