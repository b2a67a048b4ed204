"""Damage that the database reports closes the shard, whichever call finds it."""

from __future__ import annotations

import pytest

from embedder.core.storage_errors import StorageDamaged
from embedder.index.contract.points import Points
from tests.unit.index.faults.saved_index import NAMES, ROWS, flipped, reopened
from tests.unit.index.places import DatabasePlace, Place
from tests.unit.index.storage.postgres.postgres_server import PostgresServer

NEW = Points(["new"], ROWS[:1], ["text"], [{}])


def _flip_a_bit(place: Place, server: PostgresServer, table: str) -> None:
    """Flip a bit of the first page of a table while the server is down."""
    assert isinstance(place, DatabasePlace)
    with place.connection() as db:
        ((path,),) = db.execute(f"SELECT pg_relation_filepath('embedder.{table}')").fetchall()
        db.execute("CHECKPOINT")
    server.stop("fast")
    file = server.folder / "data" / path
    # A page is filled from its end.
    file.write_bytes(flipped(file.read_bytes(), 8 * 8000))
    server.start()


@pytest.mark.parametrize("table", ["points", "vectors", "collections"])
def test_a_damaged_page_closes_the_shard(
    place: Place, server: PostgresServer, table: str, caplog: pytest.LogCaptureFixture
) -> None:
    _flip_a_bit(place, server, table)
    index = reopened(place)
    for _ in range(2):
        with pytest.raises(StorageDamaged):
            index.scroll("c", include=("vector",))
    for name in ("c", "other"):
        with pytest.raises(StorageDamaged):
            index.upsert(name, NEW)

    assert index.health().status == "failed"
    assert "invalid page in block" in caplog.text
    index.close()


def test_a_damaged_page_closes_an_open_shard(place: Place, server: PostgresServer) -> None:
    index = reopened(place)
    _flip_a_bit(place, server, "points")
    with pytest.raises(StorageDamaged):
        index.upsert("c", Points(NAMES, ROWS, [None] * len(NAMES), [{}] * len(NAMES)))

    assert index.health().status == "failed"
    with pytest.raises(StorageDamaged):
        index.count("other")
    index.close()
