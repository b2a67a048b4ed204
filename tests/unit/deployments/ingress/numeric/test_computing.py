"""Work in a thread: the event loop goes on, and nobody waits longer than the request may take."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from deployments.ingress.door.visit import Visit
from deployments.ingress.numeric.computing import compute
from embedder.errors import DeadlineExceeded, InvalidVector


def _visit(seconds: float) -> Visit:
    return Visit(deadline=time.monotonic() + seconds)


async def test_the_event_loop_goes_on_while_work_is_done() -> None:
    gate = threading.Event()
    work = asyncio.ensure_future(compute(_visit(20), "sums", lambda: gate.wait(20) and 5))
    await asyncio.sleep(0.01)
    gate.set()

    assert await work == 5


async def test_work_ends_for_its_caller_with_the_time_of_the_request() -> None:
    gate = threading.Event()
    with pytest.raises(DeadlineExceeded) as caught:
        await compute(_visit(0.02), "sums", lambda: gate.wait(20))
    gate.set()

    assert str(caught.value) == "the deadline passed while waiting for the sums"


async def test_an_error_of_the_work_is_its_caller_s() -> None:
    def refuse() -> None:
        raise InvalidVector("a[0]", "is bad")

    with pytest.raises(InvalidVector, match="is bad"):
        await compute(_visit(20), "sums", refuse)
