"""On a full disk, points can be deleted and a shard can start; their space is released."""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from embedder.core.errors import Unavailable
from embedder.core.storage_errors import StorageFull
from embedder.index.contract.points import Points, Query
from embedder.index.contract.texts import TextQuery
from embedder.index.storage.sqlite import reclaiming, schema, store
from embedder.index.storage.sqlite.reserved_space import CHUNKS, FILE_NAME, ReservedSpace
from embedder.index.storage.sqlite.transaction import SqliteTransaction
from embedder.index.vector_index import VectorIndex
from tests.unit.index.small_index import small_settings
from tests.unit.index.storage.disk_load import fill_disk, mounted, points_from
from tests.unit.waiting import eventually

RESERVE = 1 << 20


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """Yield a file system of 8 MB."""
    with mounted(tmp_path / "disk", 8) as path:
        yield path


def _points(start: int, count: int = 100) -> Points:
    return points_from(start, count, "x" * 200)


def _open(folder: Path, **changed: object) -> VectorIndex:
    return VectorIndex(
        small_settings(folder, **{"reserve_bytes": RESERVE, **changed}), background=False
    )


def _fill_the_rest(disk: Path, name: str) -> None:
    with (disk / name).open("wb", buffering=0) as file:
        while os.statvfs(disk).f_bavail:
            file.write(bytes(4096))


def test_a_completely_full_disk_allows_deletes_and_starts_and_then_writes(
    tiny_disk: Path,
) -> None:
    index = _open(tiny_disk / "index")
    count = 100 * len(fill_disk(index, 100, "x" * 200))
    _fill_the_rest(tiny_disk, "other")
    for number in range(40):
        assert index.delete_points("c", [f"p{number}"]).count == 1
    index.close()
    _fill_the_rest(tiny_disk, "more")
    index = _open(tiny_disk / "index")

    assert index.health().status == "ready"
    assert index.count("c") == count - 40
    assert len(index.search([Query("c", _points(100).vectors[0], 5)])[0]) == 5
    with pytest.raises(StorageFull):
        index.upsert("c", _points(200_000))
    for start in range(100, count, 100):
        index.delete_points("c", [f"p{number}" for number in range(start, start + 100)])
    index.upsert("c", _points(200_000))
    assert index.count("c") == 160
    for name in ("other", "more"):
        (tiny_disk / name).unlink()
    assert eventually(lambda: _found_by_words(index) == 160), "given up while the disk was full"
    index.close()


def _found_by_words(index: VectorIndex) -> int:
    try:
        return len(index.search_text([TextQuery("c", "x" * 64, 1000)])[0])
    except Unavailable:
        return 0


def _disk_full(times: int, call: object) -> object:
    """Return ``call`` as a function that first fails ``times`` times with a full disk."""
    left = iter(range(times))

    def full(*arguments: object, **named: object) -> object:
        if next(left, None) is not None:
            raise sqlite3.OperationalError("database or disk is full")
        return call(*arguments, **named)  # type: ignore[operator] # a replaced function

    return full


def _no_room(*_: object) -> None:
    raise OSError(errno.ENOSPC, "no space")


@pytest.mark.parametrize("times", [0, 1, CHUNKS])
def test_deletes_use_the_reserve_and_writes_are_refused_until_it_is_complete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    index = _open(tmp_path)
    index.upsert("c", _points(0))
    with monkeypatch.context() as patch:
        patch.setattr(os, "posix_fallocate", _no_room)

        patch.setattr(SqliteTransaction, "delete", _disk_full(times, SqliteTransaction.delete))
        assert index.delete_points("c", ["p1", "p2"]).count == 2
        assert (tmp_path / FILE_NAME).stat().st_size == RESERVE - times * (RESERVE // CHUNKS)
        if times:
            with pytest.raises(StorageFull):
                index.upsert("c", _points(0))
        assert len(index.search([Query("c", _points(0).vectors[0], 99)])[0]) == 98
    index.upsert("c", _points(0))

    assert index.count("c") == 100
    assert (tmp_path / FILE_NAME).stat().st_size == RESERVE
    index.close()


def test_a_delete_without_any_reserve_left_is_refused_and_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = _open(tmp_path)
    index.upsert("c", _points(0))

    monkeypatch.setattr(
        SqliteTransaction, "delete", _disk_full(CHUNKS + 1, SqliteTransaction.delete)
    )
    with pytest.raises(StorageFull):
        index.delete_points("c", ["p1"])
    assert index.delete_points("c", ["p1"]).count == 1
    index.close()


@pytest.mark.parametrize("times", [1, CHUNKS])
def test_a_start_uses_the_reserve(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    index = _open(tmp_path)
    index.upsert("c", _points(0))
    index.close()
    with monkeypatch.context() as patch:
        patch.setattr(os, "posix_fallocate", _no_room)
        patch.setattr(store, "open_writer", _disk_full(times, schema.open_writer))
        index = _open(tmp_path)
        assert index.count("c") == 100
    index.upsert("c", _points(100))
    index.close()


def test_a_shard_that_cannot_be_opened_reports_why_and_opens_when_there_is_space(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = _open(tmp_path, reserve_bytes=0)
    index.upsert("c", _points(0))
    index.close()
    monkeypatch.setattr(store, "open_writer", _disk_full(3, schema.open_writer))
    index = _open(tmp_path, reserve_bytes=0)
    for _ in range(2):
        assert index.health().status == "failed"
        assert "no space is left" in str(index.health().problem)
        with pytest.raises(StorageFull):
            index.count("c")

    assert index.count("c") == 100
    assert index.health().status == "ready"
    index.close()


def test_the_space_of_deleted_points_is_released(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reclaiming, "FREE_PAGES", 10)
    monkeypatch.setattr(reclaiming, "STEP_PAGES", 20)
    index = _open(tmp_path)
    for start in range(0, 2000, 500):
        index.upsert("c", _points(start, 500))
    index.close()
    before = (tmp_path / "truth.db").stat().st_size
    index = _open(tmp_path)
    index.delete_points("c", [f"p{number}" for number in range(100, 2000)])
    for _ in range(20):  # one step runs between two writes
        index.upsert("c", _points(0))
    index.close()

    assert (tmp_path / "truth.db").stat().st_size < before / 4
    index = _open(tmp_path)
    assert index.count("c") == 100
    index.close()


def test_the_reserve_is_at_most_a_fraction_of_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    space = os.statvfs(tmp_path)

    assert ReservedSpace(tmp_path, 1 << 60).bytes == space.f_blocks * space.f_frsize // 8
    assert ReservedSpace(tmp_path, 0).is_complete


def test_a_file_system_without_allocation_accepts_all_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unsupported(*_: object) -> None:
        raise OSError(errno.EOPNOTSUPP, "not supported")

    monkeypatch.setattr(os, "posix_fallocate", unsupported)
    index = _open(tmp_path)
    index.upsert("c", _points(0))

    assert index.count("c") == 100
    index.close()
