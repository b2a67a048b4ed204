"""Overload by searches, in virtual time: which ones wait, and which are refused."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import cast

import numpy as np
import pytest

from deployments.index.client import ShardedHits
from deployments.index.sharded_client import RemoteIndex
from deployments.ingress.service.search_admission import SearchAdmission, key_of
from deployments.rpc.pickled_rows import PickledRows
from embedder.core.deadline import NEVER, Deadline
from embedder.core.errors import Overloaded
from embedder.core.types import Priority, Timings
from embedder.index.contract.filter_parsing import parse
from embedder.index.contract.points import CollectionInfo, Consistency, Hit, Metric, Query
from embedder.index.contract.pricing import SEARCH_ROWS, search_price
from embedder.pipeline.admission_control import AdmissionControl
from embedder.pipeline.admission_policy import OWN_TIME_FACTOR
from embedder.settings.model import LimitSettings
from tests.unit.deployments.ingress.fake_service import FakeService
from tests.unit.virtual_time import VirtualTime

SECONDS = 0.02
"""Seconds of a search."""


class OneByOne:
    """Answers searches one by one, each in the time of its collection."""

    def __init__(self, *collections: CollectionInfo) -> None:
        self.busy = asyncio.Lock()
        self.answered = 0
        self._collections = {one.name: one for one in collections}
        self._searched: dict[str, CollectionInfo] = {}

    def reading(self, _: Consistency) -> OneByOne:
        return self

    def searched(self, name: str) -> CollectionInfo | None:
        return self._searched.get(name)

    async def search(
        self, queries: Sequence[Query], *, complete: bool, deadline: Deadline
    ) -> ShardedHits:
        async with self.busy:
            sent_s = time.monotonic()
            info = self._collections.get(queries[0].collection)
            await asyncio.sleep(SECONDS * search_price(queries, info))
            self.answered += len(queries)
            if info is not None:
                self._searched[info.name] = info
            return ShardedHits([PickledRows.of(Hit, []) for _ in queries], [], sent_s)


def _admission(index: OneByOne) -> SearchAdmission:
    admission = AdmissionControl(LimitSettings(), clock=time.monotonic)
    return SearchAdmission(cast("RemoteIndex", index), admission)


async def test_ten_times_too_many_searches_are_refused_and_the_others_wait_a_bounded_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    VirtualTime(monkeypatch)
    index = OneByOne()
    searching = _admission(index)
    waits: list[float] = []
    retry_after_s: list[float] = []

    async def ask(number: int) -> None:
        query = Query("things", np.full(4, number, np.float32), 10)
        keys = [key_of(query, None)]
        asked_s = time.monotonic()
        try:
            await searching.search([query], keys, complete=False, deadline=NEVER)
        except Overloaded as error:
            retry_after_s.append(error.retry_after_s)
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

    assert len(retry_after_s) >= 0.8 * 4000
    assert done >= 0.95 * busy_s / SECONDS, "the shards are never idle"
    # Nothing is refused before the rate is known.
    late = waits[len(waits) // 2 :]
    assert sorted(late)[int(0.99 * len(late))] <= 1.0
    assert all(0 < seconds <= 120 for seconds in retry_after_s)


async def test_a_large_collection_admits_as_much_fewer_searches_as_each_takes_longer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    VirtualTime(monkeypatch)
    large = CollectionInfo("large", Metric.COSINE, "flat", 4, count=99 * SEARCH_ROWS, sequence=1)
    index = OneByOne(large)
    searching = _admission(index)
    waits: list[float] = []

    async def ask(name: str, number: int) -> None:
        query = Query(name, np.full(4, number, np.float32), 10)
        keys, asked_s = [key_of(query, None)], time.monotonic()
        await searching.search([query], keys, complete=False, deadline=NEVER)
        waits.append(time.monotonic() - asked_s - SECONDS * (100 if name == "large" else 1))

    # The rate is known from searches of a small collection, and the size of the large one.
    await ask("large", 0)
    await asyncio.gather(*(ask("small", number) for number in range(200)))
    waits.clear()
    answers = await asyncio.gather(
        *(ask("large", number) for number in range(50)), return_exceptions=True
    )

    refused = [one for one in answers if isinstance(one, Overloaded)]
    assert len(refused) + len(waits) == 50
    assert len(waits) <= OWN_TIME_FACTOR + 2
    assert max(waits) <= (OWN_TIME_FACTOR + 1) * 100 * SECONDS


async def test_a_text_search_that_would_wait_too_long_is_refused_before_its_text_is_embedded() -> (
    None
):
    service, now = FakeService(), [0.0]
    backlog = AdmissionControl(LimitSettings(), clock=lambda: now[0])
    service.search_admission = SearchAdmission(service.index, backlog)
    waiting = backlog.admit([b"others"], 200, Priority.INTERACTIVE)
    for _ in range(10):
        now[0] += 1.0
        waiting.computed(10, Timings(queue_s=1.0, inference_s=0.1))
    async with service.client() as http:
        points = [{"id": "1", "text": "a"}]
        await http.post("/v1/collections/texts/points", json={"points": points})
        embedded = len(service.encoder.calls)
        bodies = [{"text": "b"}, {"queries": [{"text": "c"}, {"vector": [1, 0, 0, 0]}]}]
        refused = [await http.post("/v1/collections/texts/search", json=body) for body in bodies]
        calls_while_full = len(service.encoder.calls) - embedded
        waiting.end()
        now[0] += float(refused[0].headers["retry-after"])
        returned = await http.post("/v1/collections/texts/search", json=bodies[0])

    assert [one.status_code for one in refused] == [429, 429]
    assert calls_while_full == 0
    assert returned.status_code == 200
    assert backlog.stats.returned == 1


def test_a_search_with_another_filter_is_another_search() -> None:
    query = Query("things", np.ones(4, np.float32), 10)
    first, second = (replace(query, filter=parse({"n": number})) for number in (1, 2))

    assert key_of(first, None) == key_of(replace(query, filter=parse({"n": 1})), None)
    assert len({key_of(one, None) for one in (query, first, second)}) == 3
