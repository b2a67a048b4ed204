"""A full disk of the database refuses writes and keeps what was stored, until there is space."""

from __future__ import annotations

import shutil
import subprocess
from contextlib import suppress
from pathlib import Path
from random import Random

import numpy as np

from embedder.core.errors import Unavailable
from embedder.core.storage_errors import StorageFull
from embedder.index.contract.points import Points, Query
from embedder.index.vector_index import VectorIndex
from tests.unit.index.faults.database.small_disk import database_on_small_disk, small_disk
from tests.unit.index.faults.saved_index import COUNT, ROWS, content, reopened, written
from tests.unit.index.places import DatabasePlace
from tests.unit.index.storage.postgres.postgres_server import PostgresServer, server_of_test

BATCH, BATCHES = 20, 100
TEXT = "text " * 400
LONG = 10_000
"""Bytes of a text that fills the log of the server, whose files have 16 MiB."""
LOG_MIB = 40


def _put(index: VectorIndex, batch: int, text: str = TEXT) -> list[str]:
    ids = [f"more-{batch}-{number}" for number in range(BATCH)]
    rows = np.ones((BATCH, 4), np.float32)
    index.upsert("other", Points(ids, rows, [text] * BATCH, [{}] * BATCH))
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
    with database_on_small_disk(server) as (disk, url):
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
    with database_on_small_disk(server) as (disk, url):
        place = written(DatabasePlace(tmp_path / "index", url))
        disk.fill()
        index = reopened(place)
        assert len(content(index)) == COUNT
        stored = _put_until_full(index)
        assert _ids(index) == stored
        index.close()


def test_a_server_that_ends_because_its_log_is_full_loses_nothing(tmp_path: Path) -> None:
    """The operator makes space, and starts the server again."""
    server = server_of_test()
    with small_disk(server.folder / "disk", LOG_MIB) as disk:
        server.create()
        log = server.folder / "data" / "pg_wal"
        subprocess.run(["cp", "--archive", log, disk.folder], check=True)
        shutil.rmtree(log)
        log.symlink_to(disk.folder / "pg_wal")
        server.start(min_wal_size="32MB", max_wal_size="32MB")
        index = reopened(written(DatabasePlace(tmp_path / "index", server.create_database())))
        expected = content(index)
        disk.fill()
        stored = _put_until_refused(index)
        (hits,) = index.search([Query("c", ROWS[0], 5, include=(), consistency="stale")])
        assert len(hits) == 5
        disk.free()
        assert "PANIC" in (server.folder / "log").read_text()
        with suppress(subprocess.CalledProcessError):  # it may have ended for good
            server.stop()
        server.start()

        assert content(index) == expected
        assert _ids(index) >= stored
        index.close()
        server.stop()


def _put_until_refused(index: VectorIndex) -> set[str]:
    """Store batches until one is refused, and return the ids of all others."""
    stored, chance = set[str](), Random(0)
    try:
        for batch in range(BATCHES):
            stored |= set(_put(index, batch, chance.randbytes(LONG).hex()))
    except Unavailable:
        return stored
    raise AssertionError("the disk is not full")
