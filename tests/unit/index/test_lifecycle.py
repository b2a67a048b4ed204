"""Each created collection has an identity, and its texts have one model, in old files as well."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from threading import Event, Semaphore
from typing import Any

import numpy as np
import pytest

from embedder.core.errors import UnknownCollection
from embedder.core.storage_errors import StaleCollection, StorageDamaged
from embedder.index.contract.points import Points, Query, Spec, StoredModel
from embedder.index.storage.sqlite import collection_table
from embedder.index.storage.sqlite.collection_table import FILE_NAME
from embedder.index.storage.sqlite.inspection import inspect, repair
from embedder.index.vector_index import VectorIndex
from tests.unit.index.small_index import save, small_settings
from tests.unit.index.storage.sqlite.version_1 import downgrade, downgrade_backup

A = StoredModel("a", "1", "0" * 64, "mean")
B = StoredModel("b", "2", "0" * 64, "mean")
RENAMED = StoredModel("c", A.revision, A.digest, A.pooling)
POINTS = Points(["x"], np.ones((1, 2), np.float32), ["text"], [{}])
VECTOR = np.ones(2, np.float32)


def _open(folder: Path) -> VectorIndex:
    return VectorIndex(small_settings(folder), background=False)


def test_each_created_collection_has_its_own_identity_after_a_restart(tmp_path: Path) -> None:
    index = _open(tmp_path)
    first = index.create("c").identity
    index.delete("c")
    given = index.create("c", Spec(identity="given"))
    index.upsert("d", POINTS)
    second = index.describe("d").identity
    index.close()
    index = _open(tmp_path)

    assert given.identity == index.describe("c").identity == "given"
    assert index.describe("d").identity == second
    assert len({first, "given", second}) == 3
    index.close()


def test_a_deleted_identity_is_never_created_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collection_table, "MAX_DELETED", 2)
    index = _open(tmp_path)
    for name in ("old", "one", "two"):
        index.create("c", Spec(identity=name))
        index.delete("c")
    index.close()
    index = _open(tmp_path)
    for name in ("one", "two"):
        with pytest.raises(StaleCollection):
            index.create("c", Spec(identity=name))
        with pytest.raises(StaleCollection):
            index.upsert("c", POINTS, Spec(identity=name))
    with pytest.raises(UnknownCollection):
        index.describe("c")

    assert index.create("c", Spec(identity="old")).identity == "old"
    index.close()


def test_the_first_model_is_recorded_and_another_is_refused(tmp_path: Path) -> None:
    index = _open(tmp_path)
    index.upsert("c", POINTS, Spec(stored=A))
    identity = index.describe("c").identity
    index.upsert("c", POINTS, Spec(stored=RENAMED, identity=identity))
    index.upsert("c", POINTS)
    for wrong in (Spec(stored=B), Spec(stored=A, identity="other")):
        with pytest.raises(StaleCollection):
            index.upsert("c", POINTS, wrong)
        query = Query("c", VECTOR, 1, model=wrong.stored, identity=wrong.identity)
        with pytest.raises(StaleCollection):
            index.search([query])
    with pytest.raises(StaleCollection):
        index.record_model("c", identity, B)
    index.close()
    index = _open(tmp_path)
    info = index.describe("c")

    assert info.stored == A
    assert (info.sequence, index.search([Query("c", VECTOR, 1, model=A)])[0][0].id) == (3, "x")
    index.close()


def test_a_file_of_version_1_is_migrated_in_place(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for folder in ("one", "two"):
        index = _open(tmp_path / folder)
        index.create("c", Spec(model="stated"))
        index.upsert("c", POINTS)
        save(index, "c")
        index.close()
        downgrade(tmp_path / folder / FILE_NAME)
    index, other = _open(tmp_path / "one"), _open(tmp_path / "two")
    info = index.describe("c")
    with caplog.at_level(logging.INFO):
        recorded = index.record_model("c", info.identity, A)

    assert (info.model, info.stored, info.count) == ("stated", None, 1)
    assert index.stats().recovery.points_from_store == 0, "its snapshots are good"
    assert info.identity == other.describe("c").identity, "the shards of one index agree"
    assert recorded.stored == StoredModel("stated", A.revision, A.digest, A.pooling)
    assert "recorded no model" in caplog.text
    other.close()
    index.close()
    index = _open(tmp_path / "one")
    assert index.describe("c").stored == recorded.stored
    index.close()


def test_a_migration_keeps_damage_detectable(tmp_path: Path) -> None:
    index = _open(tmp_path)
    index.upsert("c", POINTS)
    index.upsert("d", POINTS)
    index.close()
    downgrade(tmp_path / FILE_NAME)
    with closing(sqlite3.connect(tmp_path / FILE_NAME)) as db, db:
        db.execute("UPDATE collections SET count = 2 WHERE name = 'c'")
    before = inspect(tmp_path)
    index = _open(tmp_path)
    with pytest.raises(StorageDamaged):
        index.describe("c")

    assert [one.name for one in before.collections if one.problem] == ["c"]
    index.close()


def test_a_repaired_file_keeps_identities_models_and_deletions(tmp_path: Path) -> None:
    index = _open(tmp_path)
    index.create("gone", Spec(identity="gone"))
    index.delete("gone")
    index.upsert("c", POINTS, Spec(stored=A, identity="kept"))
    index.upsert("d", POINTS)
    index.close()
    with closing(sqlite3.connect(tmp_path / FILE_NAME)) as db, db:
        db.execute("UPDATE collections SET count = 2 WHERE name = 'd'")
    repair(tmp_path)
    index = _open(tmp_path)
    info = index.describe("c")
    with pytest.raises(StaleCollection):
        index.create("gone", Spec(identity="gone"))

    assert (info.identity, info.stored, info.count) == ("kept", A, 1)
    index.close()


def test_a_backup_of_version_1_is_restored(tmp_path: Path) -> None:
    index = _open(tmp_path / "index")
    index.create("c", Spec(model="stated"))
    index.upsert("c", POINTS)
    index.back_up("c", tmp_path / "copy")
    downgrade_backup(tmp_path / "copy")
    again = index.restore(tmp_path / "copy", "again")
    other = index.restore(tmp_path / "copy", "other", "given")

    assert (again.count, again.model, again.stored) == (1, "stated", None)
    assert len({again.identity, other.identity, index.describe("c").identity}) == 3
    assert other.identity == "given"
    index.close()


def test_a_backup_keeps_the_model(tmp_path: Path) -> None:
    index = _open(tmp_path / "index")
    index.upsert("c", POINTS, Spec(stored=A))
    index.back_up("c", tmp_path / "copy")

    assert index.restore(tmp_path / "copy", "again").stored == A
    index.close()


def test_a_model_is_recorded_in_the_commit_that_creates_the_collection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with closing(VectorIndex(background=False)) as index, ThreadPoolExecutor() as threads:
        store, begun, queued = index._shard.store, Event(), Semaphore(0)
        go_on, submit = Event(), store.submit

        def hold(_: object) -> Callable[[], None]:
            begun.set()
            go_on.wait()
            return lambda: None

        def submitting(*given: Any, **named: Any) -> Any:
            future = submit(*given, **named)
            queued.release()
            return future

        submit(hold)
        begun.wait()
        monkeypatch.setattr(store, "submit", submitting)
        made = threads.submit(index.create, "new", Spec(identity="1" * 32))
        queued.acquire()
        recorded = threads.submit(index.record_model, "new", "1" * 32, A)
        queued.acquire()
        go_on.set()

        assert made.result().identity == "1" * 32
        assert recorded.result().stored == A
