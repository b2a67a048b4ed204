"""A damaged file of the store is refused, or the damage is harmless; nothing is deleted.

``INDEX_DAMAGES`` is the number of flipped bits to try.
"""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from embedder.core.storage_errors import NewerFormat, StorageDamaged
from embedder.index.contract.points import Points
from embedder.index.storage.sqlite.schema import SCHEMA_VERSION
from embedder.index.storage.sqlite.snapshot import SqliteSnapshot
from tests.unit.index.faults.saved_index import (
    ROWS,
    content,
    flipped,
    reopened,
    written,
)
from tests.unit.index.places import Place

DAMAGES = int(os.environ.get("INDEX_DAMAGES", "60"))

LEAF_HEADER_BYTES = 8
"""Bytes before the pointers to the entries on a leaf page of SQLite, two bytes each."""


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Return a closed index with two collections, each of one saved segment."""
    return written(Place(tmp_path / "index")).folder


@pytest.mark.parametrize("clean", [True, False])
def test_a_flipped_bit_is_refused_or_harmless_and_deletes_nothing(
    directory: Path, tmp_path: Path, clean: bool
) -> None:
    shutil.rmtree(directory / "collections")
    if not clean:
        with sqlite3.connect(directory / "truth.db") as db:
            db.execute("UPDATE meta SET value = 0 WHERE key = 'clean'")
        db.close()
    index = reopened(Place(directory))
    expected = content(index)
    index.close()
    data = (directory / "truth.db").read_bytes()
    chance, refused = random.Random(3), 0
    for turn, place in enumerate(chance.sample(range(8 * 100, 8 * len(data)), DAMAGES)):
        folder = tmp_path / f"{clean}-{turn}"
        folder.mkdir()
        (folder / "truth.db").write_bytes(flipped(data, place))
        refused += not _is_right_or_refused(folder, expected)
    assert refused


def _is_right_or_refused(folder: Path, expected: object) -> bool:
    size = (folder / "truth.db").stat().st_size
    index = reopened(Place(folder))
    try:
        assert content(index) == expected
    except StorageDamaged:
        with pytest.raises(StorageDamaged):
            index.upsert("c", Points(["a"], ROWS[:1], [None], [{}]))
        if index.stats().status == "failed":
            with pytest.raises(StorageDamaged):
                index.collections()
        else:
            assert index.stats().status == "degraded"
            assert index.upsert("other", Points(["a"], ROWS[:1], [None], [{}])) == 2
        assert (folder / "truth.db").stat().st_size >= size
        return False
    finally:
        index.close()
    return True


def test_a_duplicate_entry_of_the_points_index_is_refused(directory: Path) -> None:
    shutil.rmtree(directory / "collections")
    _repeat_an_entry(directory / "truth.db", "points_by_pk")

    index = reopened(Place(directory))
    with pytest.raises(StorageDamaged, match="'c' is damaged"):
        index.scroll("c", limit=1000)
    index.close()


def test_points_with_a_duplicate_entry_are_not_copied(directory: Path) -> None:
    _repeat_an_entry(directory / "truth.db", "points_by_pk")
    with closing(sqlite3.connect(directory / "truth.db")) as db:
        rows = SqliteSnapshot(db, directory / "truth.db")
        row = rows.find_collection("c")
        assert row is not None
        with pytest.raises(StorageDamaged, match="'c' is damaged"):
            list(rows.scan(row))


def _repeat_an_entry(path: Path, index: str) -> None:
    """Replace the seventh entry of an index of one page by the third, as a flipped bit may do."""
    with closing(sqlite3.connect(path)) as db:
        query = "SELECT rootpage FROM sqlite_master WHERE name = ?"
        (page,) = db.execute(query, (index,)).fetchone()
        (size,) = db.execute("PRAGMA page_size").fetchone()
    data = bytearray(path.read_bytes())
    pointers = (page - 1) * size + LEAF_HEADER_BYTES
    data[pointers + 12 : pointers + 14] = data[pointers + 4 : pointers + 6]
    path.write_bytes(data)


@pytest.mark.parametrize("content", [b"x" * 8192, b"SQLite format 3\0" + bytes(4080)])
def test_a_file_of_another_format_is_refused_and_not_changed(
    tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "truth.db").write_bytes(content)
    index = reopened(Place(tmp_path))

    assert index.stats().status == "failed"
    with pytest.raises(StorageDamaged):
        index.create("c")
    index.close()
    assert (tmp_path / "truth.db").read_bytes() == content


def test_another_kind_of_database_is_refused(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with sqlite3.connect(tmp_path / "truth.db") as db:
        db.execute("CREATE TABLE theirs(a)")
    db.close()
    index = reopened(Place(tmp_path))

    assert index.stats().status == "failed"
    assert "another kind of database" in caplog.text
    index.close()


def test_a_file_of_a_later_version_is_refused_with_both_numbers(directory: Path) -> None:
    with sqlite3.connect(directory / "truth.db") as db:
        db.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    db.close()
    with pytest.raises(NewerFormat) as caught:
        reopened(Place(directory))

    assert (caught.value.found, caught.value.supported) == (SCHEMA_VERSION + 1, SCHEMA_VERSION)
