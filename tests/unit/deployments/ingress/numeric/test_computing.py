"""Numeric work: in threads of its own, refused before it starts where it would wait too long."""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import ExitStack

import pytest

from deployments.ingress.door.visit import Visit
from deployments.ingress.numeric.computing import LARGE, Computing, compute
from embedder.cancellation import Cancelled, stop_if_cancelled
from embedder.errors import DeadlineExceeded, InvalidVector, Overloaded
from tests.unit.deployments.ingress.fake_service import FakeService


def _visit(seconds: float) -> Visit:
    return Visit(deadline=time.monotonic() + seconds)


async def test_the_event_loop_goes_on_while_work_is_done() -> None:
    gate = threading.Event()
    with Computing(0.5).reserve(1) as reserved:
        work = asyncio.ensure_future(
            compute(_visit(20), "sums", reserved, lambda: gate.wait(20) and 5)
        )
        await asyncio.sleep(0)
        gate.set()

        assert await work == 5


async def test_work_ends_for_its_caller_with_the_time_of_the_request() -> None:
    gate = threading.Event()
    with pytest.raises(DeadlineExceeded) as caught, Computing(0.5).reserve(1) as reserved:
        await compute(_visit(0.02), "sums", reserved, lambda: gate.wait(20))
    gate.set()

    assert str(caught.value) == "the deadline passed while waiting for the sums"


async def test_work_in_progress_stops_when_its_caller_has_gone() -> None:
    begun, gate, stopped = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        assert gate.wait(20)
        try:
            stop_if_cancelled()
        except Cancelled:
            stopped.set()
            raise

    with Computing(0.5).reserve(1) as reserved:
        waiting = asyncio.ensure_future(compute(_visit(20), "sums", reserved, work))
        assert await asyncio.to_thread(begun.wait, 20)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    gate.set()

    assert await asyncio.to_thread(stopped.wait, 20)


async def test_an_error_of_the_work_is_its_caller_s() -> None:
    def refuse() -> None:
        raise InvalidVector("a[0]", "is bad")

    with pytest.raises(InvalidVector, match="is bad"), Computing(0.5).reserve(1) as reserved:
        await compute(_visit(20), "sums", reserved, refuse)


async def test_small_work_is_admitted_and_done_beside_large_work() -> None:
    computing, gate = Computing(0.5), threading.Event()
    with ExitStack() as stack:
        large = [stack.enter_context(computing.reserve(10 * LARGE, "x", at)) for at in range(8)]
        works = [
            asyncio.ensure_future(compute(_visit(20), "sums", one, lambda: gate.wait(20)))
            for one in large
        ]
        with computing.reserve(1000, "small") as small:
            assert await compute(_visit(20), "sums", small, lambda: 7) == 7
        with pytest.raises(Overloaded), computing.reserve(2 * LARGE, "one more"):
            pass
        gate.set()
        await asyncio.gather(*works)


async def test_clusters_beyond_the_budget_are_refused_and_nothing_else_waits_for_them() -> None:
    service, gate = FakeService(), threading.Event()
    texts = [f"text {number}" for number in range(2048)]
    with service.computing.reserve(10**12, "held") as reserved:
        running = asyncio.ensure_future(reserved.run(lambda: gate.wait(20)))
        async with service.client() as http:
            refused = await http.post("/v1/cluster", json={"inputs": texts, "k": 1024})
            computed = list(service.encoder.calls)
            similar = await http.post("/v1/similarity", json={"a": [[1, 0]], "b": [[0, 1]]})
            embedded = await http.post("/v1/embeddings", json={"input": "a" * 2640})
        gate.set()
        await running

    assert refused.status_code == 429, refused.text
    assert int(refused.headers["retry-after"]) >= 2
    assert int(refused.headers["retry-after-ms"]) > 1000
    assert (similar.status_code, embedded.status_code) == (200, 200)
    assert computed == [], "the texts of what is refused are not embedded"
