"""The open loop waits for nobody, comes back when it is told to, and counts right."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import islice

import aiohttp
import pytest
from aiohttp import web

from benchmarks.overload import open_loop
from benchmarks.overload_figures import Outcome, figures_of
from benchmarks.overload_routes import ROUTES, embedded, requests


class Door:
    """A service that refuses each text once, and answers when it was asked for so many texts."""

    def __init__(self, texts: int = 1) -> None:
        self.asked: dict[str, list[float]] = {}
        self.probes = 0
        self._texts = texts
        self._all_asked = asyncio.Event()

    @asynccontextmanager
    async def session(self) -> AsyncIterator[aiohttp.ClientSession]:
        """Serve, and yield a client of it."""
        application = web.Application()
        application.router.add_post("/v1/embeddings", self._embed)
        application.router.add_get("/healthz", self._health)
        runner = web.AppRunner(application)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        try:
            async with aiohttp.ClientSession(site.name) as session:
                yield session
        finally:
            await runner.cleanup()

    async def _embed(self, request: web.Request) -> web.Response:
        (text,) = (await request.json())["input"]
        self.asked.setdefault(text, []).append(time.perf_counter())
        if text.startswith("refused") and len(self.asked[text]) == 1:
            return web.Response(status=429, headers={"retry-after": "0.5"})
        if len(self.asked) == self._texts:
            self._all_asked.set()
        await self._all_asked.wait()
        return web.Response(text="{}")

    async def _health(self, request: web.Request) -> web.Response:
        self.probes += 1
        return web.Response()


async def test_requests_go_out_when_due_whatever_has_become_of_the_others() -> None:
    door = Door(texts=3)
    due = [0.0, 0.1, 0.2]
    began = time.perf_counter()
    async with door.session() as session:
        outcomes, probes = await open_loop(session, due, [embedded([one]) for one in "abc"])

    assert list(door.asked) == ["a", "b", "c"]
    assert door.asked["b"][0] >= began + 0.1
    assert door.asked["c"][0] >= began + 0.2
    assert [outcome.status for outcome in outcomes] == [200, 200, 200]
    assert door.probes == len(probes) >= 1


async def test_a_refused_request_comes_back_once_after_its_retry_after() -> None:
    door = Door()
    async with door.session() as session:
        (outcome,), _ = await open_loop(session, [0.0], [embedded(one) for one in [["refused"]]])

    first, again = door.asked["refused"]
    assert again - first >= 0.5
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
