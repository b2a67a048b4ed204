"""A closed loop waits for its answers and counts a window; an open loop sends on time."""

from __future__ import annotations

import itertools
import time

import pytest

from benchmarks.bench.loads import Route, closed_loop, open_loop
from tests.unit.benchmarks.bench.virtual_service import NOOP, PATH, VirtualService

ROUTE = Route("http://service", PATH)


def _body(number: int) -> bytes:
    return b'{"input": ["%d"]}' % number


@pytest.mark.parametrize("service", [{"answer_s": 0.0625}], indirect=True)
async def test_a_closed_loop_has_as_many_requests_in_flight_as_clients(
    service: VirtualService,
) -> None:
    bodies = map(_body, itertools.count())
    window = await closed_loop(ROUTE, bodies, clients=3, warm_s=0.125, seconds=0.5)

    assert service.at_once == 3
    assert len(set(service.texts)) == len(service.asked)
    assert window.seconds == pytest.approx(0.5)
    assert len(window.answers) == pytest.approx(3 * 0.5 / 0.0625, abs=3)


@pytest.mark.parametrize("service", [{"answer_s": 0.2}], indirect=True)
async def test_only_answers_within_the_window_count(service: VirtualService) -> None:
    bodies = map(_body, itertools.count())
    window = await closed_loop(ROUTE, bodies, clients=1, warm_s=0.3, seconds=0.25)

    assert len(window.answers) == 1, "the first came too soon, the third too late"
    assert len(service.asked) == 3


@pytest.mark.parametrize("service", [{"answer_s": 0.05}], indirect=True)
async def test_a_window_ends_with_the_bodies(service: VirtualService) -> None:
    bodies = map(_body, range(4))
    window = await closed_loop(ROUTE, bodies, clients=2, warm_s=0.0, seconds=60.0)

    assert len(window.answers) == 4
    assert window.seconds == pytest.approx(0.1)


@pytest.mark.parametrize("service", [{"answer_s": 0.125, "refuse": 1}], indirect=True)
async def test_a_refused_request_is_sent_again_after_its_retry_after(
    service: VirtualService,
) -> None:
    bodies = map(_body, range(2))
    window = await closed_loop(ROUTE, bodies, clients=1, warm_s=0.0, seconds=60.0)

    (refused, first), (again, second), (_, third) = service.asked
    assert again - refused == pytest.approx(0.0625 + 0.25)
    assert first == second != third
    assert [answer.status for answer in window.answers] == [429, 200, 200]
    latencies = [answer.done - answer.due for answer in window.answers]
    assert latencies == pytest.approx([0.0625, 0.4375, 0.125]), "from the first time"


@pytest.mark.parametrize("service", [{"answer_s": 0.0625}], indirect=True)
async def test_requests_without_a_body_are_sent_as_get(service: VirtualService) -> None:
    route = Route("http://service", NOOP)
    await closed_loop(route, itertools.repeat(None), clients=1, warm_s=0.0, seconds=0.25)

    assert service.noops == 4
    assert service.asked == []


@pytest.mark.parametrize("service", [{"answer_s": 0.5}], indirect=True)
async def test_an_open_loop_sends_when_due_while_others_wait(
    service: VirtualService,
) -> None:
    due, began = [0.0, 0.125, 0.25], time.perf_counter()
    window = await open_loop(ROUTE, [_body(number) for number in range(3)], due)

    assert [moment - began for moment, _ in service.asked] == pytest.approx(due)
    assert window.seconds == pytest.approx(0.75)
    assert [answer.due - began for answer in window.answers] == pytest.approx(due)


@pytest.mark.parametrize("service", [{"answer_s": 0.0}], indirect=True)
async def test_a_latency_counts_from_when_a_request_was_due(service: VirtualService) -> None:
    (answer,) = (await open_loop(ROUTE, [_body(0)], [-1.0])).answers

    assert answer.done - answer.due == pytest.approx(1.0)
    assert answer.sent - answer.due == pytest.approx(1.0)
    assert len(service.asked) == 1


async def test_a_request_without_a_server_is_counted_as_failed() -> None:
    window = await open_loop(Route("http://127.0.0.1:9", PATH), [_body(0)], [0.0])

    assert [answer.status for answer in window.answers] == [0]
