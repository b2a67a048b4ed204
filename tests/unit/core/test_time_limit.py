"""A time limit cancels work in time and keeps a cancellation of the caller."""

from __future__ import annotations

import asyncio

import pytest

from embedder.core.time_limit import wait_within
from tests.unit.virtual_time import VirtualTime


async def test_a_result_in_time_is_returned() -> None:
    assert await wait_within(asyncio.sleep(0, "done"), 60) == "done"
    assert await wait_within(asyncio.sleep(0, "done"), None) == "done"


async def test_work_beyond_the_limit_is_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    VirtualTime(monkeypatch)
    work = asyncio.ensure_future(asyncio.sleep(100))

    with pytest.raises(asyncio.TimeoutError):
        await wait_within(work, 99)

    assert work.cancelled()


@pytest.mark.parametrize("seconds", [0.0, -1.0])
async def test_without_time_left_a_coroutine_is_not_started(seconds: float) -> None:
    started = []

    async def work() -> None:
        started.append(True)

    with pytest.raises(asyncio.TimeoutError):
        await wait_within(work(), seconds)
    await asyncio.sleep(0)

    assert not started


async def test_without_time_left_a_finished_result_is_returned() -> None:
    finished = asyncio.get_running_loop().create_future()
    finished.set_result("done")

    assert await wait_within(finished, 0) == "done"


async def test_a_cancellation_is_kept_when_the_work_ends_in_the_same_iteration() -> None:
    """``asyncio.wait_for`` of Python 3.11 returns the result here."""
    work = asyncio.get_running_loop().create_future()
    waiting = asyncio.ensure_future(wait_within(work, 60))
    await asyncio.sleep(0)

    work.set_result("done")
    waiting.cancel()

    with pytest.raises(asyncio.CancelledError):
        await waiting
