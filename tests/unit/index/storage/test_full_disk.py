"""On a full disk points can be deleted and a shard starts; what is deleted is given back."""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from embedder.core.storage_errors import StorageFull
from embedder.index import changes
from embedder.index.contract.points import Points, Query
from embedder.index.storage import reclaiming, schema, store, writes
from embedder.index.storage.reserved_space import CHUNKS, FILE_NAME, ReservedSpace
from embedder.index.vector_index import VectorIndex
from tests.unit.index.small_index import small_settings
from tests.unit.index.storage.tiny_disk import mounted

WIDTH = 64
RESERVE = 1 << 20


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """Yield a file system of 8 MB."""
    with mounted(tmp_path / "disk", 8) as path:
        yield path


def _points(start: int, count: int = 100) -> Points:
    rows = np.random.default_rng(start).normal(0, 1, (count, WIDTH)).astype(np.float32)
    names = [f"p{number}" for number in range(start, start + count)]
    return Points(names, rows, ["x" * 200] * count, [{}] * count)


def _open(folder: Path, **changed: object) -> VectorIndex:
    return VectorIndex(
        small_settings(folder, **{"reserve_bytes": RESERVE, **changed}), background=False
    )


def _fill(index: VectorIndex) -> int:
    """Write until the disk is full, and return how many points were acknowledged."""
    for start in range(0, 100_000, 100):
        try:
            index.upsert("c", _points(start))
        except StorageFull:
            return start
    raise AssertionError("the disk is never full")


def _fill_the_rest(disk: Path, name: str) -> None:
    with (disk / name).open("wb", buffering=0) as file:
        while os.statvfs(disk).f_bavail:
            file.write(bytes(4096))


def test_a_disk_without_a_byte_takes_deletes_starts_and_takes_writes_again(
    tiny_disk: Path,
) -> None:
    index = _open(tiny_disk / "index")
    count = _fill(index)
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
    index.close()


def _disk_full(times: int, call: object) -> object:
    """Return a function that finds the disk full so many times, and then does the work."""
    left = iter(range(times))

    def full(*arguments: object, **named: object) -> object:
        if next(left, None) is not None:
            raise sqlite3.OperationalError("database or disk is full")
        return call(*arguments, **named)  # type: ignore[operator] # what is replaced is a function

    return full


def _no_room(*_: object) -> None:
    raise OSError(errno.ENOSPC, "no space")


@pytest.mark.parametrize("times", [0, 1, CHUNKS])
def test_deletes_take_what_they_need_from_the_reserve_and_writes_wait_until_it_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    index = _open(tmp_path)
    index.upsert("c", _points(0))
    with monkeypatch.context() as patch:
        patch.setattr(os, "posix_fallocate", _no_room)

        patch.setattr(changes, "delete", _disk_full(times, writes.delete))
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


def test_a_delete_that_finds_no_reserve_left_is_refused_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = _open(tmp_path)
    index.upsert("c", _points(0))

    monkeypatch.setattr(changes, "delete", _disk_full(CHUNKS + 1, writes.delete))
    with pytest.raises(StorageFull):
        index.delete_points("c", ["p1"])
    assert index.delete_points("c", ["p1"]).count == 1
    index.close()


@pytest.mark.parametrize("times", [1, CHUNKS])
def test_a_start_takes_what_it_needs_from_the_reserve(
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


def test_a_shard_that_cannot_be_opened_says_why_and_opens_when_there_is_room(
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


def test_what_is_deleted_is_given_back_to_the_disk(
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
    for _ in range(20):  # a step is made between two writes
        index.upsert("c", _points(0))
    index.close()

    assert (tmp_path / "truth.db").stat().st_size < before / 4
    index = _open(tmp_path)
    assert index.count("c") == 100
    index.close()


def test_a_reserve_is_no_larger_than_a_part_of_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    space = os.statvfs(tmp_path)

    assert ReservedSpace(tmp_path, 1 << 60).bytes == space.f_blocks * space.f_frsize // 8
    assert ReservedSpace(tmp_path, 0).is_complete


def test_a_file_system_that_cannot_hold_space_back_refuses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unsupported(*_: object) -> None:
        raise OSError(errno.EOPNOTSUPP, "not supported")

    monkeypatch.setattr(os, "posix_fallocate", unsupported)
    index = _open(tmp_path)
    index.upsert("c", _points(0))

    assert index.count("c") == 100
    index.close()
