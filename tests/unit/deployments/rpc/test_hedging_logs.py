"""Copies of a call that are cancelled leave nothing in the log, though each ends in an error."""

from __future__ import annotations

import asyncio
import gc
import logging

import pytest
import ray.exceptions
from ray.serve.exceptions import RequestCancelledError

from deployments.rpc.hedging import FLOOR_S, HedgedCalls
from embedder.core.deadline import NEVER, Deadline
from tests.unit.fake_model import settle

pytestmark = pytest.mark.usefixtures("virtual_time")


class Calls:
    """Calls of which the first never ends, until Serve reports that it was cancelled."""

    def __init__(self) -> None:
        self.sent = 0
        self.running = frozenset({"a"})
        self.hedged = HedgedCalls("Encoder", (ray.exceptions.RayActorError,), lambda: self.running)

    async def send(self) -> int:
        self.sent += 1
        if self.sent > 1:
            return self.sent
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise RequestCancelledError("1") from None
        raise AssertionError("the event is never set")


async def _logged(caplog: pytest.LogCaptureFixture) -> list[str]:
    await settle()
    gc.collect()  # asyncio logs an error when its future is freed
    return [one.getMessage() for one in caplog.records if one.name == "asyncio"]


async def test_a_cancelled_caller_logs_no_error(caplog: pytest.LogCaptureFixture) -> None:
    calls = Calls()
    with caplog.at_level(logging.ERROR, "asyncio"):
        caller = asyncio.create_task(calls.hedged.answer(calls.send, Deadline.after(60)))
        await settle()
        caller.cancel()
        await asyncio.wait([caller])
        del caller  # its error refers to the copy

        assert await _logged(caplog) == []


@pytest.mark.parametrize("seconds", [10.0, None])
async def test_a_copy_that_outlives_its_call_logs_no_error(
    caplog: pytest.LogCaptureFixture, seconds: float | None
) -> None:
    calls = Calls()
    deadline = NEVER if seconds is None else Deadline.after(seconds)
    with caplog.at_level(logging.ERROR, "asyncio"):
        answering = asyncio.create_task(calls.hedged.answer(calls.send, deadline))
        await asyncio.sleep(FLOOR_S / 2)
        calls.running = frozenset()
        answer = await answering
        await asyncio.sleep(60.0)

        assert answer == 2
        assert await _logged(caplog) == []
