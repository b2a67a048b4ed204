"""A closed loop waits for its answers and counts a window; an open loop waits for nobody."""

from __future__ import annotations

import itertools
import time

import pytest

from benchmarks.bench.loads import Route, closed_loop, open_loop
from tests.unit.benchmarks.bench.door import PATH, Door


def _body(number: int) -> bytes:
    return b'{"input": ["%d"]}' % number


async def test_a_closed_loop_has_as_many_requests_in_the_air_as_clients() -> None:
    door = Door(answer_s=0.05)
    async with door.open() as url:
        bodies = map(_body, itertools.count())
        window = await closed_loop(Route(url, PATH), bodies, clients=3, warm_s=0.1, seconds=0.4)

    assert door.at_once == 3
    assert len(set(door.texts)) == len(door.texts)
    assert window.seconds == pytest.approx(0.4)
    assert 3 <= len(window.answers) <= 3 * 0.4 / 0.05 + 3


async def test_only_answers_within_the_window_count() -> None:
    door = Door(answer_s=0.2)
    async with door.open() as url:
        bodies = map(_body, itertools.count())
        window = await closed_loop(Route(url, PATH), bodies, clients=1, warm_s=0.3, seconds=0.25)

    assert len(window.answers) == 1, "the first came too soon, the third too late"
    assert len(door.asked) == 3


async def test_a_window_ends_with_the_bodies() -> None:
    door = Door(answer_s=0.05)
    async with door.open() as url:
        bodies = map(_body, range(4))
        window = await closed_loop(Route(url, PATH), bodies, clients=2, warm_s=0.0, seconds=60.0)

    assert len(window.answers) == 4
    assert 0.1 < window.seconds < 2.0


async def test_a_client_that_is_refused_asks_the_same_again_when_it_is_told() -> None:
    door = Door(refuse=1)
    async with door.open() as url:
        bodies = map(_body, range(2))
        window = await closed_loop(Route(url, PATH), bodies, clients=1, warm_s=0.0, seconds=60.0)

    (refused, first), (again, second), (_, third) = door.asked
    assert again - refused > 0.2
    assert first == second != third
    assert [answer.status for answer in window.answers] == [429, 200, 200]
    assert [answer.done - answer.due > 0.2 for answer in window.answers] == [False, True, False]


async def test_requests_without_a_body_are_asked_with_get() -> None:
    door = Door()
    async with door.open() as url:
        route = Route(url, "/healthz")
        await closed_loop(route, itertools.repeat(None), clients=1, warm_s=0.0, seconds=0.1)

    assert door.noops > 0
    assert door.asked == []


async def test_an_open_loop_sends_when_due_whatever_has_become_of_the_others() -> None:
    door = Door(answer_s=0.5)
    due = [0.0, 0.1, 0.2]
    async with door.open() as url:
        began = time.perf_counter()
        window = await open_loop(Route(url, PATH), [_body(number) for number in range(3)], due)

    first = door.asked[0][0]
    assert [moment - first for moment, _ in door.asked] == pytest.approx(due, abs=0.08)
    assert window.seconds == pytest.approx(0.7, abs=0.2)
    assert [answer.due - began for answer in window.answers] == pytest.approx(due, abs=0.08)


async def test_a_latency_counts_from_when_a_request_was_due() -> None:
    door = Door()
    async with door.open() as url:
        (answer,) = (await open_loop(Route(url, PATH), [_body(0)], [-1.0])).answers

    assert answer.done - answer.due > 1.0
    assert answer.sent - answer.due > 1.0


async def test_a_server_that_is_gone_is_counted_and_ends_nothing() -> None:
    window = await open_loop(Route("http://127.0.0.1:9", PATH), [_body(0)], [0.0])

    assert [answer.status for answer in window.answers] == [0]
