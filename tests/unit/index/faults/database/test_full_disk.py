"""A full disk of the database refuses writes and keeps what was stored, until there is space."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from embedder.core.storage_errors import StorageFull
from embedder.index.contract.points import Points
from embedder.index.vector_index import VectorIndex
from tests.unit.index.faults.database.small_disk import small_disk
from tests.unit.index.faults.saved_index import COUNT, content, reopened, written
from tests.unit.index.places import DatabasePlace
from tests.unit.index.storage.postgres.postgres_server import PostgresServer

BATCH, BATCHES = 20, 100
TEXT = "text " * 400


def _put(index: VectorIndex, batch: int) -> list[str]:
    ids = [f"more-{batch}-{number}" for number in range(BATCH)]
    rows = np.ones((BATCH, 4), np.float32)
    index.upsert("other", Points(ids, rows, [TEXT] * BATCH, [{}] * BATCH))
    return ids


def _put_until_full(index: VectorIndex) -> set[str]:
    """Store batches until several are refused, and return the ids of all others."""
    stored, refused = set[str](), 0
    for batch in range(BATCHES):
        try:
            stored |= set(_put(index, batch))
        except StorageFull:
            refused += 1
            if refused > 2:
                return stored
    raise AssertionError("the disk is not full")


def _ids(index: VectorIndex) -> set[str]:
    return {one.id for one in index.scroll("other", limit=1000).records if "more" in one.id}


def test_a_full_disk_refuses_writes_until_there_is_space(
    server: PostgresServer, tmp_path: Path
) -> None:
    with small_disk(server) as (disk, url):
        index = reopened(written(DatabasePlace(tmp_path / "index", url)))
        expected = content(index)
        disk.fill()
        stored = _put_until_full(index)

        assert index.health().status == "ready"
        assert content(index) == expected
        assert _ids(index) == stored
        disk.free()
        stored |= set(_put(index, BATCHES))
        assert _ids(index) == stored
        assert index.count("other") == COUNT + len(stored)
        index.close()


def test_an_index_of_a_full_disk_opens_and_answers(server: PostgresServer, tmp_path: Path) -> None:
    with small_disk(server) as (disk, url):
        place = written(DatabasePlace(tmp_path / "index", url))
        disk.fill()
        index = reopened(place)
        assert len(content(index)) == COUNT
        stored = _put_until_full(index)
        assert _ids(index) == stored
        index.close()
