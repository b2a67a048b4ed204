"""After many writes, statistics are collected, and the log keeps the latest deletions only."""

from __future__ import annotations

import pytest

from embedder.index.storage.protocol import Transaction
from tests.unit.index.storage.contract.stores import commit
from tests.unit.waiting import LONG_S

pytest.importorskip("psycopg", reason="psycopg is not installed")

import psycopg

from embedder.index.storage.postgres.change_log import changes_since
from embedder.index.storage.postgres.store import PostgresStore
from embedder.index.storage.postgres.writing import upkeep
from embedder.index.storage.postgres.writing.upkeep import FORGET_EVERY, Upkeep, forget_deletions
from tests.unit.index.storage.postgres.open_store import opened, put


def test_statistics_are_collected_after_ten_times_as_many_points_each_time() -> None:
    work = Upkeep()
    assert work.due() is forget_deletions
    found = []
    for _ in range(2000):
        work.count(1000, 0)
        found.append(work.due() is not None)

    assert [number for number, is_due in enumerate(found, start=1) if is_due] == [1, 10, 100]


def test_old_deletions_are_forgotten_after_many_deletions() -> None:
    work = Upkeep()
    work.due()
    work.count(0, FORGET_EVERY - 1)
    assert work.due() is None
    work.count(0, 1)

    assert work.due() is forget_deletions
    assert work.due() is None


def test_the_log_keeps_the_latest_deletions_of_each_collection(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeep, "KEPT_DELETIONS", 3)
    with opened(url) as store:
        put(store, *"abcdefgh").result(LONG_S)
        for some in ("ab", "c", "de", "f"):  # the writes 2 to 5
            _delete(store, *some)
        commit(store, forget_deletions)
        number = store.log.heads(["c"])[1][0].id
        with store.reader.snapshot() as rows:
            kept = [changes_since(rows, number, after, 9) for after in (1, 2, 3, 4)]

        assert [None if one is None else len(one.deleted) for one in kept] == [None, None, 3, 1]


def test_a_new_collection_has_statistics(url: str) -> None:
    with opened(url) as store:
        put(store, *map(str, range(upkeep.FIRST_ROWS))).result(LONG_S)
        commit(store, lambda _: None)
        with psycopg.connect(url) as db:
            query = "SELECT reltuples FROM pg_class WHERE oid = 'embedder.points'::regclass"
            assert db.execute(query).fetchall() == [(upkeep.FIRST_ROWS,)]


def _delete(store: PostgresStore, *ids: str) -> None:
    def work(rows: Transaction) -> None:
        row = rows.find_collection("c")
        assert row is not None
        rows.delete(row, rows.find_pks(row.id, ids))

    commit(store, work)
