"""Writes are refused on a full disk until there is space, after a failed one until a restart."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from embedder.core.storage_errors import StorageFull, StorageReadOnly
from embedder.index.contract.points import Metric, Query, Spec
from embedder.index.storage import failpoints
from embedder.index.storage.sqlite.store import SqliteStore
from embedder.index.storage.sqlite.transaction import SqliteTransaction
from embedder.index.vector_index import VectorIndex
from tests.unit.index.small_index import save, small_settings
from tests.unit.index.storage.disk_load import fill_disk, holds, mounted, points_from


@pytest.fixture(autouse=True)
def _disarmed() -> Iterator[None]:
    yield
    failpoints.arm(None)


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """Yield a file system of 4 MB."""
    with mounted(tmp_path / "disk", 4) as path:
        yield path


def test_a_full_disk_refuses_writes_until_there_is_space(tiny_disk: Path) -> None:
    ballast = tiny_disk / "ballast"
    ballast.write_bytes(bytes(1 << 20))
    index = VectorIndex(small_settings(tiny_disk / "index"), background=False)
    index.create("c", Spec(Metric.DOT))
    done = fill_disk(index)
    query = Query("c", points_from(0).vectors[0], 1)

    assert done
    with pytest.raises(StorageFull):
        index.upsert("c", points_from(60_000))
    assert index.search([query])[0][0].score > 0
    with pytest.raises(OSError, match="Errno 28"):
        save(index, "c")
    assert not [*tiny_disk.rglob("*.tmp")]
    assert index.stats().status == "ready"
    assert holds(index, done)

    ballast.unlink()
    index.upsert("c", points_from(50_000))
    assert holds(index, [*done, 50_000])
    index.close()
    index = VectorIndex(small_settings(tiny_disk / "index"), background=False)
    assert holds(index, [*done, 50_000])
    index.close()


def test_a_full_file_refuses_writes_until_there_is_space(tmp_path: Path) -> None:
    index = VectorIndex(small_settings(tmp_path), background=False)
    index.create("c", Spec(Metric.DOT))

    def limit(pages: int) -> None:
        def write(rows: SqliteTransaction) -> object:
            return lambda: rows.db.execute(f"PRAGMA max_page_count = {pages}").fetchall()

        index._shard.store.submit(write).result()  # type: ignore[arg-type] # the store is in SQLite

    limit(60)
    done = fill_disk(index)
    assert done
    assert holds(index, done)
    limit(1 << 30)
    index.upsert("c", points_from(50_000))
    assert holds(index, [*done, 50_000])
    index.close()


@pytest.mark.parametrize("point", ["commit.before", "snapshot.after_write", "snapshot.after_fsync"])
def test_a_write_without_space_leaves_nothing_behind(tmp_path: Path, point: str) -> None:
    index = VectorIndex(small_settings(tmp_path), background=False)
    index.create("c", Spec(Metric.DOT))
    index.upsert("c", points_from(0))
    failpoints.arm(f"{point}:enospc")
    if point == "commit.before":
        with pytest.raises(StorageFull):
            index.upsert("c", points_from(20))
    else:
        with pytest.raises(OSError, match="Errno 28"):
            save(index, "c")

    assert holds(index, [0])
    assert not [*tmp_path.rglob("*.tmp")]
    assert index.stats().save_failures == (point != "commit.before")
    save(index, "c")
    index.upsert("c", points_from(20))
    index.close()
    index = VectorIndex(small_settings(tmp_path), background=False)
    assert holds(index, [0, 20])
    assert index.stats().recovery.points_from_store == 20
    index.close()


def test_after_a_failed_commit_writes_are_refused_until_a_restart(tmp_path: Path) -> None:
    index = VectorIndex(small_settings(tmp_path), background=False)
    index.upsert("c", points_from(0))
    failpoints.arm("commit.before:eio")
    for _ in range(2):
        with pytest.raises(StorageReadOnly):
            index.upsert("c", points_from(20))
    with pytest.raises(StorageReadOnly):
        index.delete("c")

    assert index.stats().status == "read_only"
    assert len(index.search([Query("c", points_from(0).vectors[0], 99)])[0]) == 20
    assert holds(index, [0])
    index.close()
    index = VectorIndex(small_settings(tmp_path), background=False)
    assert index.stats().status == "ready"
    assert not index.stats().recovery.was_clean
    assert holds(index, [0])
    index.upsert("c", points_from(20))
    assert holds(index, [0, 20])
    index.close()


def test_a_start_that_failed_after_it_opened_the_file_is_repeated_by_the_next_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = VectorIndex(small_settings(tmp_path), background=False)
    index.upsert("c", points_from(0))
    index.close()

    def fail(*_: object) -> None:
        raise StorageReadOnly(str(tmp_path), "disk I/O error")

    with monkeypatch.context() as patch:
        patch.setattr(SqliteStore, "collections", fail)
        index = VectorIndex(small_settings(tmp_path), background=False)
        for _ in range(2):
            with pytest.raises(StorageReadOnly):
                index.count("c")
    assert index.count("c") == 20
    assert index.health().status == "ready"
    index.close()


def test_a_directory_that_cannot_be_created_raises_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(NotADirectoryError):
        VectorIndex(small_settings(tmp_path / "file" / "index"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_directory_without_permission_raises_at_once(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(PermissionError):
        VectorIndex(small_settings(tmp_path / "index"))
