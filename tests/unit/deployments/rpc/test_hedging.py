"""Late calls are sent again: their times, their number, and the answer that counts."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

import pytest
import ray.exceptions

from deployments.rpc.hedging import (
    BURST_S,
    CEILING_S,
    EVERY,
    FLOOR_S,
    LOOK_S,
    MAX_COPIES,
    OUTLIERS,
    SHARE,
    HedgedCalls,
)
from embedder.core.deadline import NEVER, Deadline
from embedder.core.errors import InvalidInput
from tests.unit.fake_model import settle

pytestmark = pytest.mark.usefixtures("virtual_time")

LOST = ray.exceptions.RayActorError()
HUNG = 10**9


class Replicas:
    """Answers the n-th copy of a call after the n-th delay: with its number, or by an error."""

    def __init__(self, *delays: float, errors: Sequence[Exception | None] = ()) -> None:
        self.sent: list[float] = []
        self.cancelled: list[int] = []
        self._delays = delays
        self._errors = [*errors, *[None] * len(delays)]
        self._began = time.monotonic()

    async def send(self) -> int:
        number = len(self.sent)
        self.sent.append(time.monotonic() - self._began)
        try:
            await asyncio.sleep(self._delays[number])
        except asyncio.CancelledError:
            self.cancelled.append(number)
            raise
        error = self._errors[number]
        if error is not None:
            raise error
        return number

    @property
    def passed_s(self) -> float:
        return time.monotonic() - self._began


class Running:
    """The running replicas, of which some end."""

    def __init__(self, ids: set[str] | None) -> None:
        self.ids = ids

    def __call__(self) -> frozenset[str] | None:
        return None if self.ids is None else frozenset(self.ids)


def _calls(running: Running | None = None) -> HedgedCalls:
    return HedgedCalls("Encoder", (ray.exceptions.RayActorError,), running or Running(None))


async def test_a_call_that_is_answered_in_time_is_sent_once() -> None:
    replicas = Replicas(FLOOR_S - 0.1)

    assert await _calls().answer(replicas.send, Deadline.after(60)) == 0
    await asyncio.sleep(60)
    assert len(replicas.sent) == 1


async def test_the_call_of_a_hung_replica_is_answered_by_another_one() -> None:
    replicas = Replicas(HUNG, 0.5)

    assert await _calls().answer(replicas.send, Deadline.after(60)) == 1
    assert replicas.passed_s == pytest.approx(FLOOR_S + 0.5)


async def test_the_first_answer_counts_even_if_it_is_the_late_one() -> None:
    assert await _calls().answer(Replicas(FLOOR_S + 0.2, 5.0).send, Deadline.after(60)) == 0


async def test_the_last_copy_is_sent_after_a_lost_node_has_been_replaced() -> None:
    """Single replica: every copy goes to the lost node until Serve has a replacement."""
    replicas = Replicas(HUNG, HUNG, HUNG, 1.0)

    assert await _calls().answer(replicas.send, Deadline.after(60)) == 3
    assert replicas.sent == pytest.approx([0, FLOOR_S, 3 * FLOOR_S, 7 * FLOOR_S])
    assert 20 <= replicas.passed_s <= 60


async def test_a_call_without_a_deadline_is_never_late() -> None:
    replicas = Replicas(3600)
    assert await _calls().answer(replicas.send, NEVER) == 0
    assert len(replicas.sent) == 1


@pytest.mark.parametrize("once", [True, False])
async def test_a_call_to_a_removed_replica_is_sent_again(once: bool) -> None:
    """A write runs once at a time, and a call without a deadline may take any time."""
    running, replicas = Running({"a", "b"}), Replicas(HUNG, 1.0)
    calling = asyncio.ensure_future(
        _calls(running).answer(replicas.send, Deadline.after(60) if once else NEVER, once=once)
    )
    await asyncio.sleep(8 * FLOOR_S)
    before = len(replicas.sent)
    running.ids = {"b", "c"}

    assert before == 1
    assert await calling == 1
    assert replicas.passed_s <= 9 * FLOOR_S + 1


async def test_a_removed_replica_is_noticed_before_the_next_copy_is_due() -> None:
    """On a slow machine calls are late after long, and the next copy is due after twice as long."""
    running, replicas = Running({"a", "b"}), Replicas(HUNG, HUNG, 0.5)
    calls = _calls(running)
    for _ in range(EVERY):
        await calls.answer(Replicas(*[CEILING_S / 3] * 2).send, Deadline.after(60))
    calling = asyncio.ensure_future(calls.answer(replicas.send, Deadline.after(60)))
    await asyncio.sleep(CEILING_S + 1)
    running.ids = {"c"}
    await calling
    assert replicas.sent[2] - replicas.sent[0] <= CEILING_S + 1 + LOOK_S


async def test_a_call_that_ends_before_it_is_late_is_only_awaited() -> None:
    tasks: list[asyncio.Task[Any] | None] = []

    async def send() -> None:
        tasks.append(asyncio.current_task())

    await _calls().answer(send, Deadline.after(FLOOR_S))
    assert tasks == [asyncio.current_task()]


@pytest.mark.parametrize("later", [{"a", "b", "c"}, None])
async def test_a_new_replica_makes_no_call_late(later: set[str] | None) -> None:
    running, replicas = Running({"a", "b"}), Replicas(30.0)
    calling = asyncio.ensure_future(
        _calls(running).answer(replicas.send, Deadline.after(60), once=True)
    )
    await asyncio.sleep(1)
    running.ids = later

    assert await calling == 0


async def test_removed_replicas_cost_no_saved_copies() -> None:
    """Otherwise calls to many removed replicas would wait for their deadlines."""
    running, calls = Running({"a"}), int(BURST_S)
    hedged, replicas = _calls(running), [Replicas(HUNG, 1.0) for _ in range(calls)]
    answers = [
        asyncio.ensure_future(hedged.answer(each.send, Deadline.after(60))) for each in replicas
    ]
    await settle()
    running.ids = set()

    assert await asyncio.gather(*answers) == [1] * calls


async def test_a_lost_copy_leaves_the_call_to_the_others() -> None:
    replicas = Replicas(FLOOR_S + 1, 3.0, errors=[LOST])

    assert await _calls().answer(replicas.send, Deadline.after(60)) == 1


async def test_the_loss_of_every_copy_is_raised() -> None:
    replicas = Replicas(FLOOR_S + 2, 1.0, errors=[LOST, LOST])
    with pytest.raises(ray.exceptions.RayActorError):
        await _calls().answer(replicas.send, Deadline.after(60))

    assert replicas.passed_s == pytest.approx(FLOOR_S + 2)


async def test_a_refusal_counts_as_an_answer() -> None:
    replicas = Replicas(HUNG, 1.0, errors=[None, InvalidInput("input", "is bad")])
    with pytest.raises(InvalidInput):
        await _calls().answer(replicas.send, Deadline.after(60))
    await settle()

    assert replicas.cancelled == [0]


async def test_the_deadline_cancels_every_copy() -> None:
    replicas, deadline = Replicas(HUNG, HUNG, HUNG), Deadline.after(10)
    with pytest.raises(asyncio.TimeoutError):
        async with deadline.limit():
            await _calls().answer(replicas.send, deadline)
    await settle()

    assert sorted(replicas.cancelled) == [0, 1, 2]


async def test_a_superseded_copy_ends_at_the_deadline() -> None:
    """Until then a hung replica does not look idle to Serve, which would send it more calls."""
    replicas = Replicas(HUNG, 0.5)
    await _calls().answer(replicas.send, Deadline.after(20))
    await asyncio.sleep(10)
    before = list(replicas.cancelled)
    await asyncio.sleep(10)

    assert before == []
    assert replicas.cancelled == [0]


async def test_calls_that_always_take_long_are_soon_not_late() -> None:
    calls, usual_s, sends = _calls(), 2 * FLOOR_S, []
    for _ in range(5 * EVERY):
        replicas = Replicas(*[usual_s] * (MAX_COPIES + 1))
        await calls.answer(replicas.send, Deadline.after(60))
        sends.append(len(replicas.sent))

    assert sum(sends[:EVERY]) <= 2 * EVERY
    assert sends[EVERY:] == [1] * (4 * EVERY)


async def test_a_slow_start_makes_no_later_call_wait_longer() -> None:
    calls = _calls()
    for delay_s in (*[0.9 * FLOOR_S] * OUTLIERS, *[0.01] * (2 * EVERY)):
        await calls.answer(Replicas(delay_s).send, Deadline.after(60))
    replicas = Replicas(HUNG, 0.5)
    assert await calls.answer(replicas.send, Deadline.after(60)) == 1
    assert replicas.passed_s == pytest.approx(FLOOR_S + 0.5)


async def test_copies_add_a_tenth_to_an_overloaded_deployment() -> None:
    """Every call takes longer than any call may wait for its first copy."""
    calls, answered, duration_s = _calls(), 500, 4 * CEILING_S
    replicas = [Replicas(*[duration_s] * (MAX_COPIES + 1)) for _ in range(answered)]
    for start in range(0, answered, 50):
        await asyncio.gather(
            *(calls.answer(each.send, Deadline.after(600)) for each in replicas[start : start + 50])
        )
    copies = sum(len(each.sent) - 1 for each in replicas)
    earned_s = SHARE * (answered * duration_s + replicas[0].passed_s)

    assert 0 < copies <= BURST_S / FLOOR_S + earned_s / duration_s
