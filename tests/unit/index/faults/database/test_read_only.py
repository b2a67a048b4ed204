"""A database that only reads refuses writes; the index writes again as soon as it may."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from embedder.core.storage_errors import StorageReadOnly
from embedder.index.contract.points import Points, Query
from embedder.index.vector_index import VectorIndex
from tests.unit.index.faults.saved_index import COUNT, NAMES, ROWS, content, reopened
from tests.unit.index.places import DatabasePlace, Place
from tests.unit.waiting import eventually

NEW = Points(["new"], ROWS[:1], ["text"], [{}])


@contextmanager
def _only_reading(place: Place) -> Iterator[None]:
    """Let no session of the server write, not those that are open either, during the block."""
    assert isinstance(place, DatabasePlace)
    setting = "default_transaction_read_only"
    with place.connection() as db:
        db.execute(f"ALTER SYSTEM SET {setting} = on")
        db.execute("SELECT pg_reload_conf()")
        assert eventually(lambda: db.execute(f"SHOW {setting}").fetchall() == [("on",)])
        try:
            yield
        finally:
            db.execute(f"ALTER SYSTEM RESET {setting}")
            db.execute("SELECT pg_reload_conf()")
            assert eventually(lambda: db.execute(f"SHOW {setting}").fetchall() == [("off",)])


def _stale_texts(index: VectorIndex) -> list[str | None]:
    return [hit.text for hit in index.search([Query("c", ROWS[0], 5, consistency="stale")])[0]]


def test_a_database_that_only_reads_refuses_writes_for_that_time(place: Place) -> None:
    index = reopened(place)
    expected = content(index)
    with _only_reading(place):
        for _ in range(2):
            with pytest.raises(StorageReadOnly):
                index.upsert("c", NEW)
            with pytest.raises(StorageReadOnly):
                index.delete_points("c", NAMES[:3])
            assert _stale_texts(index) == ["text"] * 5
            assert len(index.scroll("c", consistency="stale").records) == COUNT
        assert index.health().status == "ready"

    assert content(index) == expected
    assert index.upsert("c", NEW) == 2
    index.close()


def test_an_index_opens_when_its_database_takes_writes(place: Place) -> None:
    with _only_reading(place):
        index = reopened(place)
        with pytest.raises(StorageReadOnly):
            index.upsert("c", NEW)
        with pytest.raises(StorageReadOnly):
            index.scroll("c")

    assert len(content(index)) == COUNT
    assert index.upsert("c", NEW) == 2
    index.close()
