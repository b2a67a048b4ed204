"""A full disk refuses writes until there is space; a failed fsync refuses them until a restart."""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from embedder.core.disk_codes import storage_error
from embedder.core.storage_errors import StorageDamaged, StorageFull, StorageReadOnly
from embedder.index.collection.open_collection import OpenCollection
from embedder.index.contract.points import Metric, Points, Query
from embedder.index.segments.index_state import Delta
from embedder.index.storage import failpoints
from embedder.index.storage.atomic_files import write_atomically
from embedder.index.vector_index import VectorIndex
from tests.unit.index.small_index import small_settings
from tests.unit.index.storage.tiny_disk import mounted

WIDTH = 64


@pytest.fixture(autouse=True)
def _disarmed() -> Iterator[None]:
    yield
    failpoints.arm(None)


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """Yield a file system of 4 MB."""
    with mounted(tmp_path / "disk", 4) as path:
        yield path


def _points(start: int, count: int = 20) -> Points:
    rows = np.random.default_rng(start).normal(0, 1, (count, WIDTH)).astype(np.float32)
    names = [f"p{number}" for number in range(start, start + count)]
    return Points(names, rows, [None] * count, [{}] * count)


def _fill(index: VectorIndex) -> list[int]:
    """Write until the disk is full and return the starts of what was acknowledged."""
    done: list[int] = []
    for start in range(0, 40_000, 20):
        try:
            index.upsert("c", _points(start))
        except StorageFull:
            return done
        done.append(start)
    raise AssertionError("the disk is never full")


def _holds(index: VectorIndex, starts: list[int]) -> bool:
    ids = {f"p{start + number}" for start in starts for number in range(20)}
    seen, cursor = set[str](), None
    while True:
        page = index.scroll("c", cursor, 1000)
        seen |= {record.id for record in page.records}
        if (cursor := page.cursor) is None:
            return seen == ids


def test_a_full_disk_refuses_writes_until_there_is_space_again(tiny_disk: Path) -> None:
    ballast = tiny_disk / "ballast"
    ballast.write_bytes(bytes(1 << 20))
    index = VectorIndex(small_settings(tiny_disk / "index"), background=False)
    index.create("c", Metric.DOT)
    done = _fill(index)
    query = Query("c", _points(0).vectors[0], 1)

    assert done
    with pytest.raises(StorageFull):
        index.upsert("c", _points(60_000))
    assert index.search([query])[0][0].score > 0
    with pytest.raises(StorageFull):
        index.snapshot("c")
    assert not [*tiny_disk.rglob("*.tmp")]
    assert index.stats().status == "ready"
    assert _holds(index, done)

    ballast.unlink()
    index.upsert("c", _points(50_000))
    assert _holds(index, [*done, 50_000])
    index.close()
    index = VectorIndex(small_settings(tiny_disk / "index"), background=False)
    assert _holds(index, [*done, 50_000])
    index.close()


def test_the_same_without_a_file_system_of_its_own(tmp_path: Path) -> None:
    index = VectorIndex(small_settings(tmp_path), background=False)
    index.create("c", Metric.DOT)

    def limit(pages: int) -> None:
        def write(db: sqlite3.Connection) -> object:
            return lambda: db.execute(f"PRAGMA max_page_count = {pages}").fetchall()

        index._shard.store.submit(write).result()  # type: ignore[arg-type] # an effect of any result

    limit(60)
    done = _fill(index)
    assert done
    assert _holds(index, done)
    limit(1 << 30)
    index.upsert("c", _points(50_000))
    assert _holds(index, [*done, 50_000])
    index.close()


@pytest.mark.parametrize("point", ["commit.before", "snapshot.after_write", "snapshot.after_fsync"])
def test_a_write_that_finds_no_space_leaves_nothing_behind(tmp_path: Path, point: str) -> None:
    index = VectorIndex(small_settings(tmp_path), background=False)
    index.create("c", Metric.DOT)
    index.upsert("c", _points(0))
    failpoints.arm(f"{point}:enospc")
    write = partial(index.upsert, "c", _points(20))
    with pytest.raises(StorageFull):
        (write if point == "commit.before" else partial(index.snapshot, "c"))()

    assert _holds(index, [0])
    assert not [*tmp_path.rglob("*.tmp")]
    assert index.stats().save_failures == (point != "commit.before")
    index.snapshot("c")
    index.upsert("c", _points(20))
    index.close()
    index = VectorIndex(small_settings(tmp_path), background=False)
    assert _holds(index, [0, 20])
    assert index.stats().recovery.replayed == 20
    index.close()


def test_after_a_failed_commit_nothing_is_written_until_a_restart(tmp_path: Path) -> None:
    index = VectorIndex(small_settings(tmp_path), background=False)
    index.upsert("c", _points(0))
    failpoints.arm("commit.before:eio")
    for _ in range(2):
        with pytest.raises(StorageReadOnly):
            index.upsert("c", _points(20))
    with pytest.raises(StorageReadOnly):
        index.delete("c")

    assert index.stats().status == "read_only"
    assert len(index.search([Query("c", _points(0).vectors[0], 99)])[0]) == 20
    assert _holds(index, [0])
    index.close()
    index = VectorIndex(small_settings(tmp_path), background=False)
    assert index.stats().status == "ready"
    assert not index.stats().recovery.was_clean
    assert _holds(index, [0])
    index.upsert("c", _points(20))
    assert _holds(index, [0, 20])
    index.close()


@pytest.mark.parametrize("error", [MemoryError(), ValueError("x"), OSError(errno.EIO, "x")])
def test_a_committed_write_that_fails_halfway_is_read_anew_and_stops_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    index = VectorIndex(small_settings(tmp_path), background=False)
    index.upsert("c", _points(0))
    append = Delta.append

    def fail(*_: object) -> Delta:
        monkeypatch.setattr(Delta, "append", append)
        raise error

    monkeypatch.setattr(Delta, "append", fail)
    with pytest.raises(type(error)):
        index.upsert("c", _points(20))
    index.upsert("c", _points(40))

    # It was committed, though never acknowledged: it is there, and every search sees it.
    assert index.stats().status == "ready"
    assert _holds(index, [0, 20, 40])
    assert len(index.search([Query("c", _points(0).vectors[0], 99)])[0]) == 60
    index.close()


def test_a_collection_that_cannot_be_read_anew_either_is_closed_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = VectorIndex(small_settings(tmp_path), background=False)
    for name in ("c", "other"):
        index.upsert(name, _points(0))

    def fail(*_: object) -> None:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(Delta, "append", fail)
        patch.setattr(OpenCollection, "reload", fail)
        with pytest.raises(MemoryError):
            index.upsert("c", _points(20))

    for call in (partial(index.upsert, "c", _points(0)), partial(index.count, "c")):
        with pytest.raises(StorageDamaged, match="'c'"):
            call()
    index.upsert("other", _points(20))
    index.close()
    index = VectorIndex(small_settings(tmp_path), background=False)
    assert _holds(index, [0, 20])
    index.close()


@pytest.mark.parametrize("existing", [None, b"old"])
@pytest.mark.parametrize("point", ["snapshot.after_write", "snapshot.after_fsync"])
def test_a_file_is_published_whole_or_the_old_one_stays(
    tmp_path: Path, existing: bytes | None, point: str
) -> None:
    path = tmp_path / "file"
    if existing is not None:
        path.write_bytes(existing)
    failpoints.arm(f"{point}:eio")
    with pytest.raises(OSError, match="fail point"):
        write_atomically(path, lambda file: file.write(b"new"))

    assert [one.name for one in tmp_path.iterdir()] == ([] if existing is None else ["file"])
    if existing is not None:
        assert path.read_bytes() == existing
    write_atomically(path, lambda file: file.write(b"new"))
    assert path.read_bytes() == b"new"


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (OSError(errno.ENOSPC, "x"), StorageFull),
        (OSError(errno.EDQUOT, "x"), StorageFull),
        (OSError(errno.EIO, "x"), StorageReadOnly),
        (OSError(errno.EROFS, "x"), StorageReadOnly),
        (sqlite3.OperationalError("database or disk is full"), StorageFull),
        (sqlite3.OperationalError("disk I/O error"), StorageReadOnly),
        (sqlite3.OperationalError("attempt to write a readonly database"), StorageReadOnly),
        (sqlite3.DatabaseError("database disk image is malformed"), StorageDamaged),
        (sqlite3.DatabaseError("file is not a database"), StorageDamaged),
        (sqlite3.OperationalError("Could not decode to UTF-8 column 'text'"), StorageDamaged),
        (StorageFull("x"), StorageFull),
        (OSError(errno.ENOENT, "x"), None),
        (OSError(errno.EMFILE, "x"), None),
        (sqlite3.OperationalError("parser stack overflow"), None),
        (sqlite3.OperationalError("database is locked"), None),
        (sqlite3.IntegrityError("UNIQUE constraint failed: points.pk"), None),
        (sqlite3.ProgrammingError("Cannot operate on a closed database."), None),
        (sqlite3.DataError("string or blob too big"), None),
        (MemoryError(), None),
        (RecursionError(), None),
        (OverflowError("Python int too large to convert to SQLite INTEGER"), None),
        (ValueError("embedded null character"), None),
        ("\ud800".encode, None),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_only_the_codes_of_a_list_say_anything_of_the_disk(
    error: Exception | Callable[[], object], kind: type[Exception] | None, tmp_path: Path
) -> None:
    if callable(error):
        with pytest.raises(UnicodeEncodeError) as raised:
            error()
        error = raised.value
    found = storage_error(error, tmp_path / "truth.db")

    assert (None if found is None else type(found)) is kind


def test_a_directory_that_cannot_be_made_is_said_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(NotADirectoryError):
        VectorIndex(small_settings(tmp_path / "file" / "index"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_directory_without_permission_is_said_at_once(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(PermissionError):
        VectorIndex(small_settings(tmp_path / "index"))
