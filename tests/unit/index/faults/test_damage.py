"""Damage is found before it is served: a snapshot is done without, a damaged truth is refused.

``INDEX_DAMAGES`` is how many flipped bits of the truth are tried.
"""

from __future__ import annotations

import logging
import os
import random
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from embedder.core.storage_errors import NewerFormat, StorageDamaged
from embedder.index.collection.scan import scan_rows
from embedder.index.contract.points import Metric, Points, Query
from embedder.index.segments.snapshot_format import (
    HEADER_BYTES,
    BadSnapshot,
    SnapshotIdentity,
    read_rows,
    read_segment,
)
from embedder.index.storage.schema import SCHEMA_VERSION
from embedder.index.storage.writes import find_collection
from embedder.index.vector_index import VectorIndex
from tests.unit.index.faults.saved_index import COUNT, NAMES, ROWS, WIDTH, reopened, written

TRUTHS = int(os.environ.get("INDEX_DAMAGES", "60"))

LEAF_HEADER_BYTES = 8
"""Bytes before the addresses of the entries on a leaf page of SQLite, two bytes an entry."""


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Return a closed index of one saved segment, and a second collection."""
    return written(tmp_path / "index")


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob("collections/*/*.snap"))


def _everything(index: VectorIndex) -> list[tuple[str, list[float], str | None, object]]:
    records = index.scroll("c", limit=1000, include=("vector", "text", "metadata")).records
    hits = index.search([Query("c", ROWS[0], 1000)])[0]
    assert {hit.id for hit in hits} == {record.id for record in records}
    for hit in hits:
        assert hit.score == pytest.approx(
            -float(np.linalg.norm(ROWS[NAMES.index(hit.id)] - ROWS[0])), abs=1e-5
        )
    return [
        (one.id, one.vector.tolist() if one.vector is not None else [], one.text, one.metadata)
        for one in records
    ]


def _identity(folder: Path) -> SnapshotIdentity:
    with sqlite3.connect(folder / "truth.db") as db:
        database = db.execute("SELECT value FROM meta WHERE key = 'uuid'").fetchone()[0]
        collection = db.execute("SELECT uuid FROM collections WHERE name = 'c'").fetchone()[0]
    db.close()
    return SnapshotIdentity(database=database, collection=collection, metric=Metric.L2, width=WIDTH)


def _flipped(data: bytes, place: int) -> bytes:
    changed = bytearray(data)
    changed[place // 8] ^= 1 << place % 8
    return bytes(changed)


def test_every_flipped_bit_and_every_cut_of_a_snapshot_is_found(
    directory: Path, tmp_path: Path
) -> None:
    identity, chance = _identity(directory), random.Random(11)
    sound = (directory / "collections" / identity.collection).glob("*.snap")
    data = next(iter(sound)).read_bytes()
    damaged = [_flipped(data, place) for place in chance.sample(range(8 * HEADER_BYTES), 150)]
    damaged += [_flipped(data, place) for place in chance.sample(range(8 * len(data)), 250)]
    cuts = [0, 1, 7, HEADER_BYTES - 1, HEADER_BYTES, len(data) - 1]
    damaged += [data[:size] for size in cuts + chance.sample(range(len(data)), 50)]
    damaged += [data + b"\0", data + data, bytes(len(data)), b"x" * len(data)]
    path = tmp_path / "damaged.snap"

    path.write_bytes(data)
    assert len(read_segment(path, read_rows(path, identity))) == COUNT
    for one in damaged:
        path.write_bytes(one)
        with pytest.raises(BadSnapshot):
            read_segment(path, read_rows(path, identity))


def _swap_collections(folder: Path) -> None:
    first, second = _files(folder)
    shutil.copy(second, first)


def _flip(folder: Path) -> None:
    for path in _files(folder):
        path.write_bytes(_flipped(path.read_bytes(), 8 * HEADER_BYTES + 3))


def _flip_the_index(folder: Path) -> None:
    for path in _files(folder):
        data = path.read_bytes()
        path.write_bytes(_flipped(data, 8 * len(data) - 5))


def _empty(folder: Path) -> None:
    for path in _files(folder):
        path.write_bytes(b"")


@pytest.mark.parametrize("damage", [_flip, _flip_the_index, _empty, _swap_collections])
def test_a_snapshot_that_cannot_be_used_is_set_aside_and_the_points_are_read_from_the_truth(
    directory: Path, damage: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    expected = [
        (n, r.tolist(), "text", {"n": i}) for i, (n, r) in enumerate(zip(NAMES, ROWS, strict=True))
    ]
    damage(directory)
    with caplog.at_level(logging.WARNING):
        index = reopened(directory)
    stats = index.stats()

    assert stats.status == "ready"
    assert stats.damaged_snapshots == len([*directory.glob("collections/*/*.damaged")]) > 0
    assert len([one for one in caplog.records if "set aside" in one.message]) == (
        stats.damaged_snapshots
    )
    assert stats.recovery.replayed == COUNT * stats.damaged_snapshots
    assert _everything(index) == expected
    index.close()
    again = reopened(directory)

    assert again.stats().damaged_snapshots == 0
    assert _everything(again) == expected
    again.close()


def test_a_snapshot_from_the_future_of_a_truth_that_was_put_back_is_not_used(
    directory: Path,
) -> None:
    old = (directory / "truth.db").read_bytes()
    index = reopened(directory)
    expected = _everything(index)
    index.upsert("c", Points(NAMES, -ROWS, [None] * COUNT, [{}] * COUNT))
    index.optimize("c")
    index.snapshot("c")
    index.close()
    (directory / "truth.db").write_bytes(old)
    index = reopened(directory)

    assert index.stats().damaged_snapshots == 1
    assert _everything(index) == expected
    index.close()


def test_a_sound_snapshot_spares_reading_the_points_anew(directory: Path) -> None:
    index = reopened(directory)

    assert index.stats().recovery.replayed == 0
    assert len(_everything(index)) == COUNT
    index.close()


@pytest.mark.parametrize("clean", [True, False])
def test_a_flipped_bit_of_the_truth_is_refused_or_harmless_and_deletes_nothing(
    directory: Path, tmp_path: Path, clean: bool
) -> None:
    shutil.rmtree(directory / "collections")
    if not clean:
        with sqlite3.connect(directory / "truth.db") as db:
            db.execute("UPDATE meta SET value = 0 WHERE key = 'clean'")
        db.close()
    index = reopened(directory)
    expected = _everything(index)
    index.close()
    data = (directory / "truth.db").read_bytes()
    chance, refused = random.Random(3), 0
    for turn, place in enumerate(chance.sample(range(8 * 100, 8 * len(data)), TRUTHS)):
        folder = tmp_path / f"{clean}-{turn}"
        folder.mkdir()
        (folder / "truth.db").write_bytes(_flipped(data, place))
        refused += not _is_right_or_refused(folder, expected)
    assert refused


def _is_right_or_refused(folder: Path, expected: object) -> bool:
    size = (folder / "truth.db").stat().st_size
    index = reopened(folder)
    try:
        assert _everything(index) == expected
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


def test_an_entry_of_the_points_index_that_stands_twice_is_refused(directory: Path) -> None:
    shutil.rmtree(directory / "collections")
    _repeat_an_entry(directory / "truth.db", "points_by_pk")

    index = reopened(directory)
    with pytest.raises(StorageDamaged, match="'c' is damaged"):
        index.scroll("c", limit=1000)
    index.close()


def test_points_of_which_one_stands_twice_are_not_copied(directory: Path) -> None:
    _repeat_an_entry(directory / "truth.db", "points_by_pk")
    with closing(sqlite3.connect(directory / "truth.db")) as db:
        row = find_collection(db, "c")
        assert row is not None
        with pytest.raises(StorageDamaged, match="'c' is damaged"):
            list(scan_rows(db, "truth.db", row))


def _repeat_an_entry(path: Path, index: str) -> None:
    """Let the seventh entry of an index of one page be the third, as one flipped bit may do."""
    with closing(sqlite3.connect(path)) as db:
        query = "SELECT rootpage FROM sqlite_master WHERE name = ?"
        (page,) = db.execute(query, (index,)).fetchone()
        (size,) = db.execute("PRAGMA page_size").fetchone()
    data = bytearray(path.read_bytes())
    pointers = (page - 1) * size + LEAF_HEADER_BYTES
    data[pointers + 12 : pointers + 14] = data[pointers + 4 : pointers + 6]
    path.write_bytes(data)


@pytest.mark.parametrize("content", [b"x" * 8192, b"SQLite format 3\0" + bytes(4080)])
def test_a_file_that_is_no_truth_is_refused_and_left_as_it_is(
    tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "truth.db").write_bytes(content)
    index = reopened(tmp_path)

    assert index.stats().status == "failed"
    with pytest.raises(StorageDamaged):
        index.create("c")
    index.close()
    assert (tmp_path / "truth.db").read_bytes() == content


def test_a_database_of_something_else_is_refused(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with sqlite3.connect(tmp_path / "truth.db") as db:
        db.execute("CREATE TABLE theirs(a)")
    db.close()
    index = reopened(tmp_path)

    assert index.stats().status == "failed"
    assert "something else" in caplog.text
    index.close()


def test_a_file_of_a_later_version_is_refused_with_both_numbers(directory: Path) -> None:
    with sqlite3.connect(directory / "truth.db") as db:
        db.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    db.close()
    with pytest.raises(NewerFormat) as caught:
        reopened(directory)

    assert (caught.value.found, caught.value.supported) == (SCHEMA_VERSION + 1, SCHEMA_VERSION)
