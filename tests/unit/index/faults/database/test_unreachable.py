"""While the database is down, stale reads go on and all others are refused; then it is over."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from embedder.core.errors import StageUnavailable
from embedder.index.contract.filter_parsing import parse
from embedder.index.contract.points import Metric, Points, Query, Spec
from embedder.index.vector_index import VectorIndex
from tests.unit.index.faults.saved_index import COUNT, NAMES, ROWS, content, reopened
from tests.unit.index.places import Place
from tests.unit.index.storage.postgres.postgres_server import PostgresServer

NEW = Points(["new"], ROWS[:1], ["text"], [{}])
WRITES: dict[str, Callable[[VectorIndex], object]] = {
    "upsert": lambda index: index.upsert("c", NEW),
    "delete_points": lambda index: index.delete_points("c", NAMES[:3]),
    "delete_matching": lambda index: index.delete_matching("c", parse({"n": {"$lt": 9}})),
    "create": lambda index: index.create("d", Spec(Metric.L2)),
    "delete": lambda index: index.delete("c"),
}
READS: dict[str, Callable[[VectorIndex], object]] = {
    "search": lambda index: index.search([Query("c", ROWS[0], 5)]),
    "search for ids": lambda index: index.search([Query("c", ROWS[0], 5, include=())]),
    "scroll": lambda index: index.scroll("c"),
    "fetch": lambda index: index.fetch("c", NAMES[:3]),
    "count": lambda index: index.count("c"),
    "count of some": lambda index: index.count("c", parse({"n": 3})),
    "describe": lambda index: index.describe("c"),
    "collections": lambda index: index.collections(),
    "stale search for texts": lambda index: index.search(
        [Query("c", ROWS[0], 5, consistency="stale")]
    ),
    "stale scroll": lambda index: index.scroll("c", consistency="stale"),
    "stale fetch": lambda index: index.fetch("c", NAMES[:3], consistency="stale"),
}


def test_calls_are_refused_while_the_database_is_down_and_succeed_afterwards(
    place: Place, server: PostgresServer
) -> None:
    index = reopened(place)
    expected = content(index)
    with server.down():
        for call in [*READS.values(), *WRITES.values()]:
            with pytest.raises(StageUnavailable):
                call(index)

    assert content(index) == expected
    assert index.health().status == "ready"
    assert index.upsert("c", NEW) == 2
    assert index.count("c") == COUNT + 1
    index.close()


def test_stale_reads_of_what_is_in_memory_need_no_database(
    place: Place, server: PostgresServer
) -> None:
    index = reopened(place)
    query = Query("c", ROWS[0], COUNT, include=(), consistency="stale")
    expected = index.search([query])[0]
    assert len(expected) == COUNT
    with server.down():
        for _ in range(2):
            assert index.search([query])[0] == expected
            assert index.count("c", consistency="stale") == COUNT
            assert index.describe("c", consistency="stale").sequence == 1
            assert len(index.collections("stale")) == 2
            with pytest.raises(StageUnavailable):
                index.upsert("c", NEW)
    index.close()


def test_an_index_opens_by_itself_when_its_database_is_up(
    place: Place, server: PostgresServer
) -> None:
    with server.down():
        index = reopened(place)
        for call in [*READS.values(), *WRITES.values()]:
            with pytest.raises(StageUnavailable):
                call(index)

        assert index.health().status == "unavailable"

    assert len(content(index)) == COUNT
    assert index.health().status == "ready"
    assert index.upsert("c", NEW) == 2
    index.close()


def test_an_index_closes_while_its_database_is_down(place: Place, server: PostgresServer) -> None:
    index = reopened(place)
    with server.down():
        index.close()
        never_open = reopened(place)
        never_open.close()

    again = reopened(place)
    assert len(content(again)) == COUNT
    again.close()
