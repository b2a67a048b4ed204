"""A collection without a name is deleted, unless a process restores it; one process deletes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from embedder.index.contract.points import Spec
from embedder.index.storage.records import CollectionRow
from tests.unit.index.storage.contract.stores import commit, rows_of
from tests.unit.waiting import eventually

pytest.importorskip("psycopg", reason="psycopg is not installed")

import psycopg

from embedder.index.storage.postgres.store import PostgresStore
from embedder.index.storage.postgres.writing.reclaiming import PURGE_LOCK, purge
from tests.unit.index.storage.postgres.open_database import OpenDatabase
from tests.unit.index.storage.postgres.open_store import commits, opened
from tests.unit.index.storage.postgres.points import named


def _begin_restore(store: PostgresStore) -> CollectionRow:
    row = commit(store, lambda rows: rows.insert_collection(None, Spec()))
    return commit(store, lambda rows: rows.upsert(row, rows_of(["a", "b"])))[1]


def _delete_one(store: PostgresStore) -> None:
    """Delete a collection, and wait until its rows are gone: they come after all older ones."""
    row = commit(store, lambda rows: rows.insert_collection("d", Spec()))
    row = commit(store, lambda rows: rows.upsert(row, rows_of(["a"])))[1]
    commit(store, lambda rows: rows.delete_collection(row))
    store.reclaim(())
    assert eventually(lambda: not len(store.reader.pairs(row.id)))


def test_a_restore_of_another_process_is_kept(url: str) -> None:
    with opened(url) as store, opened(url, creating=False) as other:
        row = _begin_restore(other)
        _delete_one(store)
        assert len(store.reader.pairs(row.id)) == 2

        commit(other, lambda rows: rows.update_collection(replace(row, name="e")))
        found = commit(store, lambda rows: rows.find_collection("e"))
        assert found is not None
        commit(store, lambda rows: rows.delete_collection(found))
        store.reclaim(())
        assert eventually(lambda: not len(store.reader.pairs(row.id))), "it is restored no more"


def test_a_restore_of_a_process_that_is_gone_is_deleted(url: str) -> None:
    with opened(url) as store:
        with opened(url, creating=False) as other:
            row = _begin_restore(other)
        with psycopg.connect(url) as db:
            db.execute("UPDATE embedder.writers SET used_at = now() - interval '2 hours'")
        store.reclaim(())

        assert eventually(lambda: not len(store.reader.pairs(row.id)))


def test_one_process_deletes_at_a_time(url: str) -> None:
    with opened(url) as store, psycopg.connect(url) as other:
        row = _begin_restore(store)
        other.execute("SELECT pg_advisory_xact_lock(%s, 0)", (PURGE_LOCK,))
        store.reclaim(())
        commit(store, lambda rows: rows.find_collection("c"))
        assert len(store.reader.pairs(row.id)) == 2

        other.commit()
        store.reclaim(())
        assert eventually(lambda: not len(store.reader.pairs(row.id)))


def test_a_delete_of_points_looks_for_no_collection(url: str) -> None:
    with opened(url) as store:
        store.reclaim(())
        commit(store, lambda _: None)
        before = commits(url)
        for _ in range(3):
            store.reclaim(())
        commit(store, lambda _: None)

        assert commits(url) == before + 1


def test_a_read_during_the_deletion_finds_no_damage(database: OpenDatabase) -> None:
    row = database.create()
    pks = np.array(database.put(named("a", "b")))
    with database.transaction() as rows:
        rows.delete_collection(database.find())
    left, more = [], True
    while more:
        left.append(len(database.reader.vectors(row.id, pks, 2)[0]))
        with database.transaction() as rows:
            more = purge(rows, ())

    assert left == [2, 0, 0, 0, 0]
