"""The open loop waits for nobody, comes back when it is told to, and counts right."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import islice
from typing import cast

import aiohttp
import pytest

from benchmarks.overload import open_loop
from benchmarks.overload_figures import Outcome, figures_of
from benchmarks.overload_routes import ROUTES, embedded, requests
from tests.unit.benchmarks.bench.virtual_service import Response
from tests.unit.virtual_time import VirtualTime


class Service:
    """A service in virtual time, in place of a client's session.

    It refuses each text of ``refused`` once, and answers the others after ``answer_s``.
    """

    def __init__(self, answer_s: float = 0.0, refused: str = "") -> None:
        self.asked: dict[str, list[float]] = {}
        self.probes = 0
        self._answer_s = answer_s
        self._refused = refused

    @asynccontextmanager
    async def post(self, path: str, *, data: bytes, headers: object) -> AsyncIterator[Response]:
        """Answer a request for one text."""
        (text,) = json.loads(data)["input"]
        self.asked.setdefault(text, []).append(time.perf_counter())
        if text in self._refused and len(self.asked[text]) == 1:
            yield Response(429, {"retry-after": "0.5"})
            return
        await asyncio.sleep(self._answer_s)
        yield Response(200, {})

    @asynccontextmanager
    async def get(self, path: str) -> AsyncIterator[Response]:
        """Answer a probe."""
        self.probes += 1
        yield Response(200, {})


async def _open_loop(
    service: Service, due: list[float], texts: str
) -> tuple[list[Outcome], list[float]]:
    session = cast("aiohttp.ClientSession", service)
    return await open_loop(session, due, [embedded([text]) for text in texts])


@pytest.fixture(autouse=True)
async def began(monkeypatch: pytest.MonkeyPatch, virtual_time: VirtualTime) -> float:
    """Measure in virtual time; return when the test begins."""
    monkeypatch.setattr(time, "perf_counter", virtual_time)
    return virtual_time()


async def test_requests_go_out_when_due_whatever_has_become_of_the_others(began: float) -> None:
    service, due = Service(answer_s=0.5), [0.0, 0.125, 0.25]
    outcomes, probes = await _open_loop(service, due, "abc")

    sent = [service.asked[text] for text in "abc"]
    assert [moment - began for (moment,) in sent] == pytest.approx(due)
    assert [outcome.status for outcome in outcomes] == [200, 200, 200]
    assert service.probes == len(probes) >= 1


async def test_a_refused_request_comes_back_once_after_its_retry_after() -> None:
    service = Service(refused="a")
    (outcome,), _ = await _open_loop(service, [0.0], "a")

    first, again = service.asked["a"]
    assert again - first == pytest.approx(0.5)
    assert (outcome.status, outcome.again) == (429, 200)


async def test_a_service_that_is_gone_is_counted_and_ends_nothing() -> None:
    async with aiohttp.ClientSession("http://127.0.0.1:9") as session:
        (outcome,), _ = await open_loop(session, [0.0], [embedded(one) for one in [["a"]]])

    assert outcome.status == 0


def test_figures_tell_answers_refusals_returns_and_failures_apart() -> None:
    outcomes = [
        *(Outcome(200, seconds=number / 1000) for number in range(1, 102)),
        Outcome(429, seconds=0.002, again=200, again_s=0.051),
        Outcome(429, seconds=0.002, again=429),
        Outcome(503, seconds=9.0),
        Outcome(0, seconds=9.0),
    ]
    figures = figures_of("x", (10.0, 20.0), outcomes, [0.001, 0.25], 0.5)

    assert figures.offered_per_s == 10.5
    assert figures.goodput_per_s == 5.1
    assert (figures.p50_ms, figures.p99_ms) == pytest.approx((51.0, 99.99))
    assert figures.refused == 2 / 105
    assert figures.returns_that_succeed == 0.5
    assert (figures.server_errors, figures.unanswered) == (1, 1)
    assert figures.worst_probe_ms == 250.0
    assert figures.statuses == {0: 1, 200: 102, 429: 3, 503: 1}


@pytest.mark.parametrize("route", ROUTES)
def test_many_requests_of_every_route_are_distinct(route: str) -> None:
    asked = list(islice(requests(route, seed=0, size=2), 64))

    assert len(set(asked)) == 64
