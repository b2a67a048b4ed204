"""Writes are queued, commit in order, and fail alone; a snapshot sees none that comes later."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from contextvars import copy_context

import pytest

from embedder.core.cancellation import Cancellation, Cancelled
from embedder.core.errors import InvalidInput, Unavailable
from embedder.index.contract.filter_parsing import parse
from embedder.index.contract.points import Spec
from embedder.index.storage.protocol import Effect, Store, Transaction
from tests.unit.index.storage.contract.stores import Opener, commit, held, rows_of
from tests.unit.waiting import LONG_S


def _create(
    store: Store, name: str, shown: list[str], error: Exception | None = None
) -> Future[str]:
    """Queue a write that inserts a collection and then raises ``error``, if given.

    Its effect adds the name to ``shown``.
    """

    def write(rows: Transaction) -> Effect[str]:
        rows.insert_collection(name, Spec())
        if error is not None:
            raise error

        def effect() -> str:
            shown.append(name)
            return name

        return effect

    return store.submit(write)


def _names(store: Store) -> list[str]:
    return sorted(str(row.name) for row in store.collections())


def test_queued_writes_become_visible_in_the_order_of_the_queue(store: Store) -> None:
    shown: list[str] = []
    names = [f"c{number:02}" for number in range(40)]
    with held(store):
        futures = [_create(store, name, shown) for name in names]

    assert [future.result(LONG_S) for future in futures] == names
    assert shown == names == _names(store)


def test_a_write_is_committed_before_its_effect(store: Store) -> None:
    def write(rows: Transaction) -> Effect[list[str]]:
        rows.insert_collection("c", Spec())
        return lambda: _names(store)

    assert store.submit(write).result(LONG_S) == ["c"]


@pytest.mark.parametrize(
    "error",
    [InvalidInput("points", "is refused"), MemoryError(), RecursionError(), ValueError("x")],
    ids=repr,
)
def test_a_write_that_fails_leaves_nothing_and_fails_alone(store: Store, error: Exception) -> None:
    shown: list[str] = []
    with held(store):
        first = _create(store, "a", shown)
        failing = _create(store, "b", shown, error)
        last = _create(store, "c", shown)
    with pytest.raises(type(error)):
        failing.result(LONG_S)

    assert (first.result(LONG_S), last.result(LONG_S)) == ("a", "c")
    assert store.refusal is None
    assert _create(store, "d", shown).result(LONG_S) == "d"
    assert shown == ["a", "c", "d"] == _names(store)


def test_an_effect_that_fails_fails_its_write_alone(store: Store) -> None:
    def write(rows: Transaction) -> Effect[None]:
        rows.insert_collection("a", Spec())

        def effect() -> None:
            raise ValueError("x")

        return effect

    shown: list[str] = []
    with held(store):
        failing, last = store.submit(write), _create(store, "b", shown)
    with pytest.raises(ValueError, match="x"):
        failing.result(LONG_S)

    assert last.result(LONG_S) == "b"
    assert _names(store) == ["a", "b"]


def test_a_write_cancelled_before_it_starts_is_dropped(store: Store) -> None:
    shown: list[str] = []
    cancellation, context = Cancellation(), copy_context()
    context.run(cancellation.enter)
    with held(store):
        kept = _create(store, "a", shown)
        dropped = context.run(_create, store, "b", shown)
        cancellation.request()

    assert kept.result(LONG_S) == "a"
    assert isinstance(dropped.exception(LONG_S), Cancelled)
    assert shown == ["a"] == _names(store)


def test_writes_queued_before_closing_are_committed(opener: Opener) -> None:
    shown: list[str] = []
    store = opener.store
    with held(store):
        futures = [_create(store, name, shown) for name in ("a", "b", "c")]
        closing_thread = threading.Thread(target=opener.close)
        closing_thread.start()
    closing_thread.join(LONG_S)

    assert [future.result(0) for future in futures] == ["a", "b", "c"]
    with pytest.raises(Unavailable):
        store.submit(lambda _: lambda: None)
    again = opener.reopen()
    assert _names(again) == ["a", "b", "c"]
    assert again.was_clean


def test_a_store_keeps_its_identity(opener: Opener) -> None:
    before = opener.store.uuid

    assert opener.reopen().uuid == before


def test_a_snapshot_sees_one_moment(store: Store) -> None:
    commit(store, lambda rows: rows.insert_collection("a", Spec()))
    with store.reader.snapshot() as snapshot:
        before = snapshot.find_collection("a")
        commit(store, lambda rows: rows.insert_collection("b", Spec()))

        assert before is not None
        assert snapshot.find_collection("a") == before
        assert snapshot.find_collection("b") is None
    with store.reader.snapshot() as snapshot:
        assert snapshot.find_collection("b") is not None


def test_points_that_meet_a_filter_ascend_after_one_was_overwritten(store: Store) -> None:
    row = commit(store, lambda rows: rows.insert_collection("c", Spec()))
    _, row = commit(store, lambda rows: rows.upsert(row, rows_of(["a", "b", "c"])))
    commit(store, lambda rows: rows.upsert(row, rows_of(["a"])))

    pairs, sequence = store.reader.matching(row.id, parse({}))

    assert pairs.tolist() == [[1, 2], [2, 1], [3, 1]]
    assert sequence == 2


def test_an_exclusive_read_runs_between_two_writes(store: Store) -> None:
    shown: list[str] = []
    with held(store):
        first = _create(store, "a", shown)
        found: list[list[str]] = []
        reading = threading.Thread(
            target=lambda: found.append(store.run_exclusively(lambda: [*shown, *_names(store)]))
        )
        reading.start()
    reading.join(LONG_S)

    assert first.result(LONG_S) == "a"
    assert found in ([[]], [["a", "a"]]), "neither half of the write alone"


def test_readers_do_not_wait_for_a_write(store: Store) -> None:
    commit(store, lambda rows: rows.insert_collection("a", Spec()))

    def write(rows: Transaction) -> Effect[list[str]]:
        rows.insert_collection("b", Spec())
        seen = _names(store)
        return lambda: seen

    assert store.submit(write).result(LONG_S) == ["a"]
    assert _names(store) == ["a", "b"]
