"""Files of version 1 are migrated, and a repair keeps what each collection records."""

from __future__ import annotations

import logging
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from embedder.core.storage_errors import StaleCollection, StorageDamaged
from embedder.index.contract.points import Points, Spec, StoredModel
from embedder.index.storage.sqlite import schema
from embedder.index.storage.sqlite.collection_table import FILE_NAME
from embedder.index.storage.sqlite.files.inspection import inspect
from embedder.index.storage.sqlite.files.rebuilding import rebuild_file
from embedder.index.vector_index import VectorIndex
from tests.unit.index.small_index import save, small_settings
from tests.unit.index.storage.sqlite.version_1 import downgrade, downgrade_backup

A = StoredModel("a", "1", "0" * 64, "mean")
POINTS = Points(["x"], np.ones((1, 2), np.float32), ["text"], [{}])


def _open(folder: Path) -> VectorIndex:
    return VectorIndex(small_settings(folder), background=False)


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


@pytest.mark.parametrize("fails", [False, True])
def test_a_file_passes_through_all_later_versions_at_once_or_stays(
    tmp_path: Path, fails: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def migrate_to_5(db: sqlite3.Connection) -> None:
        db.execute("CREATE TABLE more(x)")
        if fails:
            raise OSError("stopped")

    index = _open(tmp_path)
    index.upsert("c", POINTS)
    index.close()
    downgrade(tmp_path / FILE_NAME)
    before = (tmp_path / FILE_NAME).read_bytes()
    monkeypatch.setattr(schema, "SCHEMA_VERSION", 5)
    monkeypatch.setitem(schema._MIGRATIONS, 4, migrate_to_5)
    if fails:
        with pytest.raises(OSError, match="stopped"):
            schema.open_writer(tmp_path / FILE_NAME, durable=True)
        assert (tmp_path / FILE_NAME).read_bytes() == before
        return
    with closing(schema.open_writer(tmp_path / FILE_NAME, durable=True)) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (5,)
        tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master")}
        assert {"more", "deleted", "text_postings", "sparse_vectors"} <= tables
        assert db.execute("SELECT identity IS NOT NULL FROM collections").fetchall() == [(1,)]


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
    rebuild_file(tmp_path)
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
