"""Requests of an open loop are sent when they are due, and refused ones return once."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

import aiohttp
import pytest

from benchmarks.http_load import Answer, open_loop
from benchmarks.overload_routes import embedded
from tests.unit.benchmarks.bench.virtual_service import Response
from tests.unit.virtual_time import VirtualTime


class Service:
    """A service in virtual time, in place of a client's session.

    It refuses each text of ``refused`` once, and answers the others after ``answer_s``.
    """

    def __init__(self, answer_s: float = 0.0, refused: str = "") -> None:
        self.asked: dict[str, list[float]] = {}
        self._answer_s = answer_s
        self._refused = refused

    @asynccontextmanager
    async def post(self, path: str, *, data: bytes) -> AsyncIterator[Response]:
        """Answer a request for one text."""
        (text,) = json.loads(data)["input"]
        self.asked.setdefault(text, []).append(time.perf_counter())
        if text in self._refused and len(self.asked[text]) == 1:
            yield Response(429, {"retry-after": "0.5"})
            return
        await asyncio.sleep(self._answer_s)
        yield Response(200, {})


async def _open_loop(service: Service, due: list[float], texts: str) -> list[Answer]:
    session = cast("aiohttp.ClientSession", service)
    return await open_loop(session, [embedded([text]) for text in texts], due)


@pytest.fixture(autouse=True)
async def began(monkeypatch: pytest.MonkeyPatch, virtual_time: VirtualTime) -> float:
    """Measure in virtual time; return when the test begins."""
    monkeypatch.setattr(time, "perf_counter", virtual_time)
    return virtual_time()


async def test_requests_are_sent_when_due_while_others_wait_for_their_answers(began: float) -> None:
    service, due = Service(answer_s=0.5), [0.0, 0.125, 0.25]
    answers = await _open_loop(service, due, "abc")

    sent = [service.asked[text] for text in "abc"]
    assert [moment - began for (moment,) in sent] == pytest.approx(due)
    assert [answer.status for answer in answers] == [200, 200, 200]


async def test_a_refused_request_comes_back_once_after_its_retry_after() -> None:
    service = Service(refused="a")
    answers = await _open_loop(service, [0.0], "a")

    first, again = service.asked["a"]
    assert again - first == pytest.approx(0.5)
    assert [(answer.status, answer.returned) for answer in answers] == [(429, False), (200, True)]


async def test_a_request_without_a_service_is_counted_as_failed() -> None:
    async with aiohttp.ClientSession("http://127.0.0.1:9") as session:
        (answer,) = await open_loop(session, [embedded(["a"])], [0.0])

    assert answer.status == 0
