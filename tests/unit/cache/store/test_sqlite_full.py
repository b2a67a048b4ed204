"""A full disk: only records that are put meanwhile are lost, and the store recovers."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from embedder.cache.store.sqlite_store import SqliteStore
from embedder.core.errors import StageUnavailable
from tests.unit.cache.known import by_key, keys, records

WIDTH = 384


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Yield a folder on a file system of 12 MiB."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount a small file system")
    command = ["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", str(tmp_path)]
    mounted = subprocess.run(command, capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
    yield tmp_path
    subprocess.run(["umount", str(tmp_path)], check=True)


def _fill(store: SqliteStore, first: int = 0) -> int:
    """Put until the store rejects records; return the first rejected number."""
    for number in range(first, first + 100_000, 100):
        try:
            store.put_many(records(range(number, number + 100), WIDTH))
        except StageUnavailable:
            return number
    raise AssertionError("the disk is not full")


def _at_maximum_size(folder: Path) -> tuple[SqliteStore, int]:
    """Fill a file up to a maximum number of pages; return also the first rejected number."""
    store = SqliteStore(folder / "a.sqlite")
    store.open()
    with store._file.reading() as connection:
        connection.execute("PRAGMA max_page_count = 40")
    return store, _fill(store)


def _holds(store: SqliteStore, count: int) -> None:
    assert by_key(store.load()) == by_key([records(range(count), WIDTH)])


def test_a_full_disk_loses_no_records_and_accepts_more_once_there_is_space(
    small_disk: Path,
) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(7 * 2**20))
    store = SqliteStore(small_disk / "a.sqlite")
    store.open()
    full = _fill(store)
    assert full > 0
    for _ in range(3):
        with pytest.raises(StageUnavailable) as refused:
            store.put_many(records(range(full, full + 100), WIDTH))
    assert "full" in refused.value.reason
    assert store.is_open
    _holds(store, full)

    ballast.unlink()
    store.put_many(records(range(full, full + 100), WIDTH))
    _holds(store, full + 100)
    store.close()

    store = SqliteStore(small_disk / "a.sqlite")
    store.open()
    assert store.stats.renamed_files == 0
    _holds(store, full + 100)
    store.close()


def test_a_disk_that_is_full_from_the_start_raises_unavailable(small_disk: Path) -> None:
    ballast = small_disk / "ballast"
    with pytest.raises(OSError, match="No space"):
        ballast.write_bytes(bytes(20 * 2**20))
    store = SqliteStore(small_disk / "a.sqlite")

    with pytest.raises(StageUnavailable):
        store.open()
    assert not store.is_open
    ballast.unlink()
    store.open()
    store.put_many(records([1], WIDTH))

    assert store.stats.renamed_files == 0
    store.close()


def test_clearing_frees_space_on_a_full_disk(small_disk: Path) -> None:
    store = SqliteStore(small_disk / "a.sqlite")
    store.open()
    _fill(store)

    store.clear()

    assert _fill(store) > 100
    store.close()


def test_a_file_at_its_maximum_size_accepts_more_once_it_may_grow(tmp_path: Path) -> None:
    store, full = _at_maximum_size(tmp_path)
    _holds(store, full)

    with store._file.reading() as connection:
        connection.execute("PRAGMA max_page_count = 1000000")
    store.put_many(records(range(full, full + 100), WIDTH))

    _holds(store, full + 100)
    store.close()


def test_renewing_frees_space_in_a_file_at_its_maximum_size(tmp_path: Path) -> None:
    store, full = _at_maximum_size(tmp_path)

    upto, names = store.oldest(200)
    store.renew(upto, [records(range(20), WIDTH)])
    store.put_many(records(range(full, full + 100), WIDTH))

    assert set(names) == set(keys(range(200)))
    kept = records([*range(20), *range(200, full + 100)], WIDTH)
    assert by_key(store.load()) == by_key([kept])
    store.close()
