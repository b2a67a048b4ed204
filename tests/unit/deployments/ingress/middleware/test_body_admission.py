"""A large body is admitted before it is read, and waits for others within limits."""

from __future__ import annotations

import asyncio
import threading
from contextlib import ExitStack
from itertools import pairwise

import httpx
import pytest

from deployments.ingress.middleware.body import read_body
from deployments.ingress.middleware.context import RequestContext
from deployments.ingress.middleware.large_bodies import (
    BYTES_PER_S,
    INLINE_BYTES,
    LargeBodies,
    convert_body,
)
from deployments.ingress.middleware.request import RequestMiddleware
from deployments.ingress.routing.route import Routes
from deployments.ingress.routing.router import Router
from deployments.settings.service import IngressLimits
from embedder.core.deadline import Deadline
from embedder.core.errors import DeadlineExceeded, Overloaded
from tests.unit.deployments.ingress.fake_service import FakeService
from tests.unit.deployments.ingress.middleware.body_wire import Wire, chunks_of
from tests.unit.virtual_time import VirtualTime
from tests.unit.waiting import LONG_S


@pytest.mark.parametrize(("size", "beside"), [(INLINE_BYTES, False), (INLINE_BYTES + 1, True)])
async def test_only_a_large_body_is_converted_in_a_thread(size: int, beside: bool) -> None:
    names: list[str] = []
    routes = Routes("test")

    @routes.add("POST", "/length", scope=None)
    async def length(given: str, asked: RequestContext) -> int:
        names.append(await convert_body(asked, lambda: threading.current_thread().name))
        return len(given)

    async with _client(routes, LargeBodies(1.0)) as http:
        response = await http.post("/length", json="a" * (size - 2))

    assert response.json() == size - 2
    assert (names != [threading.current_thread().name]) == beside


async def test_a_large_body_waits_for_others_no_longer_than_its_request_may() -> None:
    began, others_end, done = threading.Event(), threading.Event(), list[str]()
    bodies = LargeBodies(60.0)

    def hold() -> None:
        began.set()
        others_end.wait(LONG_S)

    with bodies.admit("/", 1, b"") as first, bodies.admit("/", 1, b"") as second:
        patient = RequestContext(Deadline.after(60), large_body=first)
        late = RequestContext(Deadline.after(0.01), large_body=second)
        other = asyncio.create_task(convert_body(patient, hold))
        await asyncio.to_thread(began.wait)
        try:
            with pytest.raises(DeadlineExceeded, match="reads large bodies"):
                await convert_body(late, done.append, "late")
        finally:
            others_end.set()
        await other
        await convert_body(patient, done.append, "next")

    assert done == ["next"]


async def test_a_large_body_behind_many_others_is_refused_before_it_is_read() -> None:
    bodies = LargeBodies(max_wait_s=1.0)
    wire = Wire(chunks_of(b"[" * 64 * 1024, b" " * 64 * 1024, b" " * 2**20))
    with bodies.admit("/", int(20 * BYTES_PER_S), b"others"), pytest.raises(Overloaded) as caught:
        await _read(wire, bodies, 2**20)

    assert len(wire.unread) == 2
    assert caught.value.retry_after_s > 1
    assert bodies.stats.refused == 1
    assert await _read(Wire(chunks_of(b"{}")), bodies, 2) == b"{}"


async def test_a_client_that_sends_slowly_keeps_no_others_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    VirtualTime(monkeypatch)
    bodies = LargeBodies(max_wait_s=1.0)
    slow_wire = Wire(chunks_of(*[b" "] * 60), pause_s=0.2)
    slow = asyncio.create_task(_read(slow_wire, bodies, int(20 * BYTES_PER_S)))
    await asyncio.sleep(0.3)
    with pytest.raises(Overloaded):
        await _read(Wire(chunks_of(b" ")), bodies, 2**20)
    await asyncio.sleep(2.0)
    others = await _read(Wire(chunks_of(b" ")), bodies, 2**20)
    slow.cancel()

    assert others == b" "


async def test_a_refused_large_body_is_admitted_when_it_returns_at_its_time() -> None:
    bodies = LargeBodies(max_wait_s=0.1)
    with bodies.admit("/", int(2 * BYTES_PER_S), b"others"):
        for start in (b"one", b"two"):
            with pytest.raises(Overloaded):
                bodies.admit("/", 2**20, start).__enter__()
    with bodies.admit("/", 2**20, b"one"):
        assert bodies.stats.waiting == 1


async def test_refused_bodies_that_begin_alike_return_one_after_the_other() -> None:
    bodies = LargeBodies(max_wait_s=0.1)
    size = int(BYTES_PER_S)
    times = []
    with bodies.admit("/", 20 * size, b"others"):
        for _ in range(5):
            with pytest.raises(Overloaded) as caught:
                bodies.admit("/", size, b"alike").__enter__()
            times.append(caught.value.retry_after_s)

    assert all(after > before + 0.9 for before, after in pairwise(times))


async def _read(wire: Wire, bodies: LargeBodies, size: int) -> bytes | None:
    with ExitStack() as admitted:
        return await read_body(
            wire.receive,
            {b"content-length": b"%d" % size},
            IngressLimits(max_body_bytes=2**40),
            Deadline.after(60),
            lambda size, start: admitted.enter_context(bodies.admit("/", size, start)),
        )


def _client(routes: Routes, bodies: LargeBodies) -> httpx.AsyncClient:
    service = FakeService()
    app = RequestMiddleware(
        Router(routes, service).answer,
        service.settings,
        service.keys,
        service.request_stats,
        bodies,
        {},
    )
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service")
