"""A shard in a database uploads its snapshots, and starts from them on an empty node."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from embedder.core.errors import ConfigurationError
from embedder.index.contract.points import Metric, Points, Query, Spec
from embedder.index.objects import uploading
from embedder.index.objects.object_store import ObjectStore
from embedder.index.vector_index import VectorIndex
from tests.unit.index.objects.replica import COUNT, IDS, ROWS, nearest
from tests.unit.index.small_index import save, small_settings
from tests.unit.index.storage.postgres.postgres_server import running_server
from tests.unit.waiting import eventually


class Shards:
    """Opens replicas of shard 0 of 1 in one database, each in a folder of its own."""

    def __init__(self, folder: Path, snapshots: str) -> None:
        self.folder = folder
        self.url = running_server().create_database()
        self.snapshots = snapshots
        self.opened = list[VectorIndex]()

    def open(self, name: str, *, background: bool = False) -> VectorIndex:
        """Return a replica, which is closed at the end of the test."""
        settings = small_settings(
            self.folder / name, url=self.url, snapshots=self.snapshots, recovery_s=1e-6
        )
        self.opened.append(VectorIndex(settings, "VectorIndex-0", 1, background=background))
        return self.opened[-1]


@pytest.fixture
def shards(tmp_path: Path, url: str) -> Iterator[Shards]:
    """Yield an empty shard whose object store is empty."""
    shards = Shards(tmp_path, url)
    yield shards
    for index in shards.opened:
        index.close()


def _fill(index: VectorIndex, first: int = 0, count: int = COUNT) -> None:
    rows = slice(first, first + count)
    index.create("c", Spec(Metric.L2))
    index.upsert("c", Points(IDS[rows], ROWS[rows], [None] * count, [{}] * count))


def _found(index: VectorIndex) -> list[str]:
    (hits,) = index.search([Query("c", ROWS[0], COUNT)])
    return [hit.id for hit in hits]


def test_maintenance_uploads_and_an_empty_node_reads_only_what_is_new(shards: Shards) -> None:
    first = shards.open("first")
    _fill(first, 0, 30)
    save(first, "c")
    first.run_maintenance()
    _fill(first, 30, 10)
    second = shards.open("second")

    assert second.stats().recovery.points_from_store == 10
    assert second.stats().object_failures == second.stats().damaged_snapshots == 0
    assert _found(second) == _found(first) == nearest()


def test_one_replica_uploads_until_it_is_closed(shards: Shards, tmp_path: Path) -> None:
    first, second = shards.open("first"), shards.open("second")
    first.run_maintenance()
    _fill(second)
    save(second, "c")
    second.run_maintenance()
    third = shards.open("third")
    assert third.stats().recovery.points_from_store == COUNT
    first.close()
    objects = ObjectStore(shards.snapshots, "")

    def has_uploaded() -> bool:
        second.run_maintenance()
        return bool(objects.find())

    assert eventually(has_uploaded)  # the server notices the closed connection later
    fourth = shards.open("fourth")
    assert fourth.stats().recovery.points_from_store == 0
    assert _found(fourth) == nearest()


def test_the_background_uploads(shards: Shards, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploading, "INTERVAL_S", 0.001)
    _fill(shards.open("first", background=True))

    def is_uploaded() -> bool:
        folder = f"node-{time.monotonic_ns()}"
        return shards.open(folder).stats().recovery.points_from_store < COUNT

    assert eventually(is_uploaded)


def test_segments_of_another_history_than_that_of_the_rows_are_not_uploaded(
    shards: Shards,
) -> None:
    index = shards.open("first")
    _fill(index)
    save(index, "c")
    segments = index._shard.find("c")._segments
    assert segments is not None
    history, segments.history = segments.history, "before"
    index.run_maintenance()
    assert not ObjectStore(shards.snapshots, "").find()

    segments.history = history
    index.run_maintenance()
    assert ObjectStore(shards.snapshots, "").find()


def test_failures_of_the_object_store_fail_nothing_and_are_counted(
    shards: Shards, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = shards.open("first")
    _fill(first)
    save(first, "c")
    monkeypatch.setattr("fsspec.spec.AbstractFileSystem.invalidate_cache", None)
    first.run_maintenance()
    second = shards.open("second")

    assert first.stats().object_failures == second.stats().object_failures == 1
    assert _found(second) == _found(first) == nearest()


def test_a_missing_driver_refuses_the_start(
    shards: Shards, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)
    shards.snapshots = "s3://bucket"
    with pytest.raises(ConfigurationError, match="pip install s3fs"):
        shards.open("first")
