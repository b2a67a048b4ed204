"""A closed loop waits for its answers and counts a window; an open loop waits for nobody."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Self

import pytest

from benchmarks.bench import loads
from benchmarks.bench.loads import Route, closed_loop, open_loop
from tests.unit.benchmarks.bench.door import PATH, Door
from tests.unit.virtual_time import VirtualTime

ROUTE = Route("http://service", PATH)


@dataclass(frozen=True)
class _Response:
    status: int
    headers: dict[str, str]

    async def read(self) -> bytes:
        return b"{}"


@dataclass
class Service:
    """A service in virtual time, as the session of a client: each answer takes ``answer_s``."""

    answer_s: float
    refuse: int = 0
    asked: list[tuple[float, str]] = field(default_factory=list)
    at_once: int = 0
    now: int = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close nothing."""

    @asynccontextmanager
    async def request(self, method: str, path: str, *, data: bytes) -> AsyncIterator[_Response]:
        """Answer a request for one text."""
        assert (method, path) == ("POST", PATH)
        (text,) = json.loads(data)["input"]
        self.asked.append((time.perf_counter(), text))
        if len(self.asked) <= self.refuse:
            await asyncio.sleep(0.0625)
            yield _Response(429, {"retry-after": "0.25"})
            return
        self.now += 1
        self.at_once = max(self.at_once, self.now)
        await asyncio.sleep(self.answer_s)
        self.now -= 1
        yield _Response(200, {})


@pytest.fixture
async def service(
    monkeypatch: pytest.MonkeyPatch, virtual_time: VirtualTime, request: pytest.FixtureRequest
) -> Service:
    """Return the service that the loops ask, in the time of the test."""
    service = Service(**request.param)
    monkeypatch.setattr(time, "perf_counter", virtual_time)
    monkeypatch.setattr(loads, "_session", lambda route: service)
    return service


def _body(number: int) -> bytes:
    return b'{"input": ["%d"]}' % number


@pytest.mark.parametrize("service", [{"answer_s": 0.0625}], indirect=True)
async def test_a_closed_loop_has_as_many_requests_in_the_air_as_clients(service: Service) -> None:
    bodies = map(_body, itertools.count())
    window = await closed_loop(ROUTE, bodies, clients=3, warm_s=0.125, seconds=0.5)

    assert service.at_once == 3
    assert len({text for _, text in service.asked}) == len(service.asked)
    assert window.seconds == pytest.approx(0.5)
    assert len(window.answers) == pytest.approx(3 * 0.5 / 0.0625, abs=3)


@pytest.mark.parametrize("service", [{"answer_s": 0.2}], indirect=True)
async def test_only_answers_within_the_window_count(service: Service) -> None:
    bodies = map(_body, itertools.count())
    window = await closed_loop(ROUTE, bodies, clients=1, warm_s=0.3, seconds=0.25)

    assert len(window.answers) == 1, "the first came too soon, the third too late"
    assert len(service.asked) == 3


@pytest.mark.parametrize("service", [{"answer_s": 0.05}], indirect=True)
async def test_a_window_ends_with_the_bodies(service: Service) -> None:
    bodies = map(_body, range(4))
    window = await closed_loop(ROUTE, bodies, clients=2, warm_s=0.0, seconds=60.0)

    assert len(window.answers) == 4
    assert window.seconds == pytest.approx(0.1)


@pytest.mark.parametrize("service", [{"answer_s": 0.125, "refuse": 1}], indirect=True)
async def test_a_client_that_is_refused_asks_the_same_again_when_it_is_told(
    service: Service,
) -> None:
    bodies = map(_body, range(2))
    window = await closed_loop(ROUTE, bodies, clients=1, warm_s=0.0, seconds=60.0)

    (refused, first), (again, second), (_, third) = service.asked
    assert again - refused == pytest.approx(0.0625 + 0.25)
    assert first == second != third
    assert [answer.status for answer in window.answers] == [429, 200, 200]
    latencies = [answer.done - answer.due for answer in window.answers]
    assert latencies == pytest.approx([0.0625, 0.4375, 0.125]), "from the first time"


async def test_requests_without_a_body_are_asked_with_get() -> None:
    door = Door()
    async with door.open() as url:
        route = Route(url, "/healthz")
        await closed_loop(route, itertools.repeat(None), clients=1, warm_s=0.0, seconds=0.1)

    assert door.noops > 0
    assert door.asked == []


@pytest.mark.parametrize("service", [{"answer_s": 0.5}], indirect=True)
async def test_an_open_loop_sends_when_due_whatever_has_become_of_the_others(
    service: Service,
) -> None:
    due, began = [0.0, 0.125, 0.25], time.perf_counter()
    window = await open_loop(ROUTE, [_body(number) for number in range(3)], due)

    assert [moment - began for moment, _ in service.asked] == pytest.approx(due)
    assert window.seconds == pytest.approx(0.75)
    assert [answer.due - began for answer in window.answers] == pytest.approx(due)


@pytest.mark.parametrize("service", [{"answer_s": 0.0}], indirect=True)
async def test_a_latency_counts_from_when_a_request_was_due(service: Service) -> None:
    (answer,) = (await open_loop(ROUTE, [_body(0)], [-1.0])).answers

    assert answer.done - answer.due == pytest.approx(1.0)
    assert answer.sent - answer.due == pytest.approx(1.0)
    assert len(service.asked) == 1


async def test_a_server_that_is_gone_is_counted_and_ends_nothing() -> None:
    window = await open_loop(Route("http://127.0.0.1:9", PATH), [_body(0)], [0.0])

    assert [answer.status for answer in window.answers] == [0]
