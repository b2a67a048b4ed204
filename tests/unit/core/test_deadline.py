"""A deadline limits work in time, keeps a cancellation of the caller, and travels as seconds."""

from __future__ import annotations

import asyncio
import math
import pickle

import pytest

from embedder.core.deadline import NEVER, Deadline
from tests.unit.virtual_time import VirtualTime


async def test_a_deadline_passes_after_its_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = VirtualTime(monkeypatch)
    deadline = Deadline.after(5)

    assert deadline.remaining_s() == pytest.approx(5)
    assert not deadline.expired
    clock.stand_still(6)
    assert deadline.remaining_s() == 0
    assert deadline.expired


def test_a_deadline_may_be_never() -> None:
    assert Deadline.after(None) == Deadline.after(math.inf) == NEVER
    assert NEVER.remaining_s() == math.inf
    assert not NEVER.expired
    assert min(NEVER, Deadline.after(1)) != NEVER


async def test_a_pickled_deadline_holds_the_remaining_seconds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The clocks of two processes differ; here the clock moves between sender and receiver."""
    clock = VirtualTime(monkeypatch)
    sent, passed, never = (pickle.dumps(one) for one in (Deadline.after(5), Deadline(0), NEVER))
    clock.stand_still(1000)

    received = pickle.loads(sent)
    assert isinstance(received, Deadline)
    assert received.remaining_s() == pytest.approx(5)
    assert pickle.loads(passed).expired
    assert pickle.loads(never) == NEVER


@pytest.mark.parametrize("seconds", [60, None])
async def test_work_in_time_ends(seconds: float | None) -> None:
    async with Deadline.after(seconds).limit():
        assert await asyncio.sleep(0, "done") == "done"


async def test_work_beyond_the_deadline_is_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    VirtualTime(monkeypatch)
    work = asyncio.ensure_future(asyncio.sleep(100))

    with pytest.raises(asyncio.TimeoutError):
        async with Deadline.after(99).limit():
            await work

    assert work.cancelled()


@pytest.mark.parametrize("seconds", [0.0, -1.0])
async def test_without_time_left_the_work_is_not_started(seconds: float) -> None:
    started = []

    with pytest.raises(asyncio.TimeoutError):
        async with Deadline.after(seconds).limit():
            started.append(True)

    assert not started


async def test_a_cancellation_is_kept_when_the_work_ends_in_the_same_iteration() -> None:
    """``asyncio.wait_for`` of Python 3.11 returns the result here."""
    work = asyncio.get_running_loop().create_future()

    async def wait() -> None:
        async with Deadline.after(60).limit():
            await work

    waiting = asyncio.ensure_future(wait())
    await asyncio.sleep(0)

    work.set_result("done")
    waiting.cancel()

    with pytest.raises(asyncio.CancelledError):
        await waiting
