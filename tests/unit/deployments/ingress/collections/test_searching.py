"""Searches beyond what the shards can answer, in virtual time: who waits, and who is refused."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import cast

import numpy as np
import pytest

from deployments.ingress.collections.searching import Searching
from deployments.remote_index import RemoteIndex
from deployments.shard_answers import Found
from embedder.backlog.backlog import Backlog
from embedder.config import LimitSettings
from embedder.errors import Overloaded
from embedder.index.points import Query
from tests.unit.virtual_time import VirtualTime

SECONDS = 0.02
"""What a search takes."""


class OneByOne:
    """Answers one search after the other."""

    def __init__(self) -> None:
        self.busy = asyncio.Lock()
        self.answered = 0

    async def search(
        self,
        queries: Sequence[Query],
        *,
        complete: bool,
        deadline: float | None,
        begun: list[float],
    ) -> Found:
        async with self.busy:
            begun.append(time.monotonic())
            await asyncio.sleep(SECONDS * len(queries))
            self.answered += len(queries)
            return Found([[] for _ in queries], [])


async def test_ten_times_too_many_searches_are_refused_and_the_others_wait_a_bounded_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    VirtualTime(monkeypatch)
    index = OneByOne()
    backlog = Backlog(LimitSettings(), clock=time.monotonic)
    searching = Searching(backlog)
    waits: list[float] = []
    told: list[float] = []

    async def ask(number: int) -> None:
        query = Query("things", np.full(4, number, np.float32), 10)
        asked_s = time.monotonic()
        try:
            shards = cast("RemoteIndex", index)
            await searching.search(shards, [query], complete=False, deadline=None)
        except Overloaded as error:
            told.append(error.retry_after_s)
        else:
            waits.append(time.monotonic() - asked_s)

    asked = []
    begun_s = time.monotonic()
    for number in range(4000):
        asked.append(asyncio.ensure_future(ask(number)))
        await asyncio.sleep(SECONDS / 10)
    busy_s = time.monotonic() - begun_s
    done = index.answered
    await asyncio.gather(*asked)

    assert len(told) >= 0.8 * 4000
    assert done >= 0.95 * busy_s / SECONDS, "the shards are never idle"
    # Nothing is refused before the rate is known.
    late = waits[len(waits) // 2 :]
    assert sorted(late)[int(0.99 * len(late))] <= 1.0
    assert all(0 < seconds <= 120 for seconds in told)
