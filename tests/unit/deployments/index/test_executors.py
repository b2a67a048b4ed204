"""An index shard under load: no class of work delays another one or the health check."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import numpy as np
import pytest

from deployments.index.replica import IndexReplica
from deployments.settings.service import ServeSettings
from embedder.core.deadline import Deadline
from embedder.core.errors import Overloaded
from embedder.index.contract.filter_parsing import parse
from embedder.index.contract.points import Points, Query
from tests.unit.waiting import LONG_S

NAME = "notes"
FILTER = parse({"n": {"$gte": 0}})


def points(count: int = 1, first: int = 0) -> Points:
    """Return some points."""
    ids = [f"point {first + number}" for number in range(count)]
    return Points(ids, np.ones((count, 4), np.float32), [None] * count, [{"n": 1}] * count)


class Held:
    """Stands for methods of the index; each call waits until it is let go."""

    def __init__(self, patch: pytest.MonkeyPatch, shard: IndexReplica, *methods: str) -> None:
        self.go = threading.Event()
        self.started: list[str] = []
        for method in methods:
            patch.setattr(shard._index, method, self._held(method, getattr(shard._index, method)))

    def _held(self, name: str, method: Any) -> Any:
        def wait(*arguments: Any) -> Any:
            self.started.append(name)
            assert self.go.wait(LONG_S)
            return method(*arguments)

        wait.__name__ = name
        return wait


@pytest.fixture
async def shard() -> AsyncIterator[IndexReplica]:
    """Yield a shard with a hundred points."""
    settings = ServeSettings.model_validate(
        {"data_directory": None, "index": {"max_queued_bytes": 100_000}}
    )
    shard = IndexReplica(settings, "VectorIndex-0")
    await shard.call("upsert", NAME, points(100))
    yield shard
    await shard._stop()


async def test_health_and_stats_need_no_thread(
    shard: IndexReplica, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = Held(monkeypatch, shard, "count", "search", "upsert", "fetch")
    busy = [
        asyncio.ensure_future(call)
        for number in range(50)
        for call in (
            shard.call("count", NAME, FILTER),
            shard.call("search", [Query(NAME, np.ones(4, np.float32), 1)]),
            shard.call("upsert", NAME, points(first=number)),
            shard.call("fetch", NAME, ["point 1"], ()),
        )
    ]
    await asyncio.sleep(0)  # each call is admitted or refused in its first step
    async with Deadline.after(LONG_S / 2).limit():
        await shard.check_health()
        assert (await shard.stats()).points == 100
        assert (await shard.call("describe", NAME)).count == 100
        assert len(await shard.call("collections")) == 1
    held.go.set()
    await asyncio.gather(*busy)


@pytest.mark.parametrize("full", ["count", "search", "upsert", "fetch"])
async def test_no_class_of_work_waits_for_another(
    shard: IndexReplica, monkeypatch: pytest.MonkeyPatch, full: str
) -> None:
    """Scans of a large collection, searches, writes and reads by id each have their threads."""
    monkeypatch.setattr("deployments.index.replica.SCAN_ROWS", 50)
    held = Held(monkeypatch, shard, full)
    calls: dict[str, Callable[[], Awaitable[Any]]] = {
        "count": lambda: shard.call("count", NAME, FILTER),
        "search": lambda: shard.call("search", [Query(NAME, np.ones(4, np.float32), 1)]),
        "upsert": lambda: shard.call("upsert", NAME, points()),
        "fetch": lambda: shard.call("fetch", NAME, ["point 1"], ()),
    }
    busy = [asyncio.ensure_future(calls[full]()) for _ in range(20)]
    for name, call in calls.items():
        if name != full:
            async with Deadline.after(LONG_S / 2).limit():
                await call()
    held.go.set()
    await asyncio.gather(*busy)

    assert held.started.count(full) == 20


async def test_three_thousand_upserts_at_once_are_bounded_in_bytes(
    shard: IndexReplica, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = Held(monkeypatch, shard, "upsert")
    upserts = (shard.call("upsert", NAME, points(first=n)) for n in range(3000))
    calls = [asyncio.ensure_future(upsert) for upsert in upserts]
    await asyncio.sleep(0)  # each call is admitted or refused in its first step
    waiting = [call for call in calls if not call.done()]
    refused = [call.exception() for call in calls if call.done()]
    held.go.set()
    await asyncio.gather(*calls, return_exceptions=True)

    assert 10 <= len(waiting) <= 100
    assert len(refused) == 3000 - len(waiting)
    retry_after_s = [error.retry_after_s for error in refused if isinstance(error, Overloaded)]
    assert len(retry_after_s) == len(refused)
    assert all(0 < seconds <= 120 for seconds in retry_after_s)
    assert (await shard.call("describe", NAME)).count >= 100


async def test_ten_times_too_many_scans_are_refused_before_they_start(
    shard: IndexReplica, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shard._index, "known_points", lambda _: 10**6)
    held = Held(monkeypatch, shard, "count")
    calls = [asyncio.ensure_future(shard.call("count", NAME, FILTER)) for _ in range(200)]
    await asyncio.sleep(0)  # each call is admitted or refused in its first step
    scans = next(one for one in (await shard.stats()).queues if one.name == "index-scan")
    refused = [call.exception() for call in calls if call.done()]
    held.go.set()
    await asyncio.gather(*calls, return_exceptions=True)

    assert len(refused) >= 180
    assert all(isinstance(error, Overloaded) for error in refused)
    assert (scans.running, scans.waiting, scans.refused) == (2, 198 - len(refused), len(refused))
    assert len(held.started) == 200 - len(refused)


async def test_a_scan_of_a_cancelled_caller_stops_between_two_steps(
    shard: IndexReplica, monkeypatch: pytest.MonkeyPatch
) -> None:
    await shard.call("upsert", NAME, points(1))
    started, go, ended = threading.Event(), threading.Event(), threading.Event()
    count = shard._index.count

    def held(*arguments: Any) -> int:
        started.set()
        assert go.wait(LONG_S)
        try:
            return count(*arguments)
        finally:
            ended.set()

    held.__name__ = "count"
    monkeypatch.setattr(shard._index, "count", held)
    monkeypatch.setattr("embedder.index.storage.sqlite.schema.STEPS", 10)
    running = asyncio.ensure_future(shard.call("count", NAME, FILTER))
    assert await asyncio.to_thread(started.wait, LONG_S)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    go.set()

    assert await asyncio.to_thread(ended.wait, LONG_S)
    monkeypatch.undo()
    assert await shard.call("count", NAME, FILTER) == 100, "the connection is good for the next one"
