"""A server that hangs while its connections stay open delays a call for a limited time only."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context

import pytest

from embedder.core.cancellation import Cancellation, Cancelled
from embedder.core.errors import StageUnavailable
from embedder.index.contract.points import Points, Query
from embedder.index.vector_index import VectorIndex
from tests.unit.index.faults.saved_index import COUNT, NAMES, ROWS, content, reopened
from tests.unit.index.places import Place
from tests.unit.index.storage.postgres.postgres_server import PostgresServer
from tests.unit.waiting import LONG_S

NEW = Points(["new"], ROWS[:1], ["text"], [{}])
LIMITED = "embedder.index.storage.postgres.connection.limited_connection"


@pytest.fixture
def short_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """End a statement soon that does not end by itself."""
    monkeypatch.setattr(f"{LIMITED}.LimitedConnection.statement_s", 0.3)
    monkeypatch.setattr(f"{LIMITED}.STOP_S", 0.1)


@pytest.mark.long_store
@pytest.mark.usefixtures("short_limits")
def test_calls_to_a_hanging_server_are_refused_and_succeed_when_it_goes_on(
    place: Place, server: PostgresServer
) -> None:
    index = reopened(place)
    expected = content(index)
    stale = Query("c", ROWS[0], COUNT, include=(), consistency="stale")
    with server.suspended():
        assert len(index.search([stale])[0]) == COUNT
        with pytest.raises(StageUnavailable):
            index.upsert("c", NEW)
        with pytest.raises(StageUnavailable):
            index.search([Query("c", ROWS[0], 5)])
        with pytest.raises(StageUnavailable):
            index.fetch("c", NAMES[:2], consistency="stale")
        assert len(index.search([stale])[0]) == COUNT

    assert content(index) == expected
    assert index.health().status == "ready"
    assert index.upsert("c", NEW) == 2
    index.close()


def test_a_call_to_a_hanging_server_ends_when_its_deadline_has_passed(
    place: Place, server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"{LIMITED}.STOP_S", 0.1)
    index = reopened(place)
    expected, cancellation, waiting = content(index), Cancellation(), threading.Event()

    def read(index: VectorIndex) -> None:
        cancellation.enter()
        waiting.set()
        index.scroll("c")

    with server.suspended(), ThreadPoolExecutor(1) as pool:
        answer = pool.submit(copy_context().run, read, index)
        assert waiting.wait(LONG_S)
        cancellation.request()
        with pytest.raises((Cancelled, StageUnavailable)):
            answer.result(LONG_S)

    assert content(index) == expected
    index.close()
