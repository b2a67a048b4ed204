"""A damaged snapshot is detected and set aside; its points are loaded from the store."""

from __future__ import annotations

import logging
import random
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from embedder.index.contract.points import Metric, Points
from embedder.index.segments.snapshot_format import (
    HEADER_BYTES,
    BadSnapshot,
    SnapshotIdentity,
    read_rows,
    read_segment,
)
from tests.unit.index.faults.saved_index import (
    COUNT,
    NAMES,
    ROWS,
    WIDTH,
    content,
    flipped,
    reopened,
    written,
)
from tests.unit.index.places import Place
from tests.unit.index.small_index import merge_all, save


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Return a closed index with two collections, each of one saved segment."""
    return written(Place(tmp_path / "index")).folder


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob("collections/*/*.snap"))


def _identity(folder: Path) -> SnapshotIdentity:
    with sqlite3.connect(folder / "truth.db") as db:
        database = db.execute("SELECT value FROM meta WHERE key = 'uuid'").fetchone()[0]
        collection = db.execute("SELECT uuid FROM collections WHERE name = 'c'").fetchone()[0]
    db.close()
    return SnapshotIdentity(database=database, collection=collection, metric=Metric.L2, width=WIDTH)


@pytest.mark.sqlite
def test_every_flipped_bit_and_every_cut_of_a_snapshot_is_found(
    directory: Path, tmp_path: Path
) -> None:
    identity, chance = _identity(directory), random.Random(11)
    sound = (directory / "collections" / identity.collection).glob("*.snap")
    data = next(iter(sound)).read_bytes()
    damaged = [flipped(data, place) for place in chance.sample(range(8 * HEADER_BYTES), 150)]
    damaged += [flipped(data, place) for place in chance.sample(range(8 * len(data)), 250)]
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
        path.write_bytes(flipped(path.read_bytes(), 8 * HEADER_BYTES + 3))


def _flip_the_index(folder: Path) -> None:
    for path in _files(folder):
        data = path.read_bytes()
        path.write_bytes(flipped(data, 8 * len(data) - 5))


def _empty(folder: Path) -> None:
    for path in _files(folder):
        path.write_bytes(b"")


@pytest.mark.parametrize("damage", [_flip, _flip_the_index, _empty, _swap_collections])
def test_a_damaged_snapshot_is_set_aside_and_its_points_are_read_from_the_store(
    directory: Path, damage: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    expected = [
        (n, r.tolist(), "text", {"n": i}) for i, (n, r) in enumerate(zip(NAMES, ROWS, strict=True))
    ]
    damage(directory)
    with caplog.at_level(logging.WARNING):
        index = reopened(Place(directory))
    stats = index.stats()

    assert stats.status == "ready"
    assert stats.damaged_snapshots == len([*directory.glob("collections/*/*.damaged")]) > 0
    assert len([one for one in caplog.records if "set aside" in one.message]) == (
        stats.damaged_snapshots
    )
    assert stats.recovery.points_from_store == COUNT * stats.damaged_snapshots
    assert content(index) == expected
    index.close()
    again = reopened(Place(directory))

    assert again.stats().damaged_snapshots == 0
    assert content(again) == expected
    again.close()


@pytest.mark.sqlite
def test_a_snapshot_newer_than_a_restored_store_is_not_used(
    directory: Path,
) -> None:
    old = (directory / "truth.db").read_bytes()
    index = reopened(Place(directory))
    expected = content(index)
    index.upsert("c", Points(NAMES, -ROWS, [None] * COUNT, [{}] * COUNT))
    merge_all(index, "c")
    save(index, "c")
    index.close()
    (directory / "truth.db").write_bytes(old)
    index = reopened(Place(directory))

    assert index.stats().damaged_snapshots == 1
    assert content(index) == expected
    index.close()


def test_an_undamaged_snapshot_replaces_reading_the_points(directory: Path) -> None:
    index = reopened(Place(directory))

    assert index.stats().recovery.points_from_store == 0
    assert len(content(index)) == COUNT
    index.close()
