"""A body is read up to the limit of bytes, and at a minimum rate."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import NoReturn

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.exceptions import HTTPException
from starlette.types import Message

from deployments.ingress.errors.http_errors import BodyTooLarge, BodyTooSlow
from deployments.ingress.middleware.body import LISTEN_S, read_body
from deployments.settings.service import IngressLimits
from embedder.core.deadline import Deadline
from embedder.core.errors import InvalidInput
from tests.unit.deployments.ingress.middleware.body_wire import Wire, chunks_of
from tests.unit.virtual_time import VirtualTime

LIMIT = 8
DISCONNECT: Message = {"type": "http.disconnect"}


async def read(
    wire: Wire, *headers: tuple[bytes, bytes], deadline_s: float = 5.0, **limits: float
) -> bytes | None:
    settings = IngressLimits.model_validate({"max_body_bytes": LIMIT, **limits})
    return await read_body(
        wire.receive, dict(headers), settings, Deadline.after(deadline_s), admit_nothing
    )


def admit_nothing(size: int, start: bytes) -> NoReturn:
    raise AssertionError("these bodies are small")


@given(st.lists(st.binary(max_size=5), min_size=1, max_size=6), st.booleans())
async def test_a_body_is_read_if_it_is_within_the_limit(
    chunks: Sequence[bytes], declares: bool
) -> None:
    whole = b"".join(chunks)
    headers = [(b"content-length", str(len(whole)).encode())] if declares else []
    wire = Wire(chunks_of(*chunks))

    if len(whole) <= LIMIT:
        assert await read(wire, *headers) == whole
    else:
        with pytest.raises(BodyTooLarge, match=f"the limit is {LIMIT}"):
            await read(wire, *headers)


@pytest.mark.parametrize("declared", [b"9", b"99999999999999999999", b"9" * 5000])
async def test_a_declared_length_above_the_limit_is_refused_unread(declared: bytes) -> None:
    wire = Wire(chunks_of(b"123456789"))

    with pytest.raises(BodyTooLarge):
        await read(wire, (b"content-length", declared))
    assert len(wire.unread) == 1


async def test_reading_stops_at_the_first_chunk_above_the_limit() -> None:
    wire = Wire(chunks_of(b"1234", b"5678", b"9", b"never read", b""))

    with pytest.raises(BodyTooLarge, match="9 bytes; the limit is 8"):
        await read(wire)
    assert len(wire.unread) == 2


async def test_a_body_longer_than_declared_counts_with_its_real_length() -> None:
    with pytest.raises(BodyTooLarge, match="10 bytes"):
        await read(Wire(chunks_of(b"12345", b"67890")), (b"content-length", b"2"))


@pytest.mark.parametrize("declared", [b"0", b"7", b"", b"-1", b"x", b"1e9"])
async def test_a_body_with_a_wrong_or_invalid_length_is_read(
    declared: bytes,
) -> None:
    assert await read(Wire(chunks_of(b"12", b"34")), (b"content-length", declared)) == b"1234"


async def test_a_body_that_a_proxy_dropped_for_an_offer_is_reported() -> None:
    with pytest.raises(InvalidInput, match="without it"):
        await read(Wire(chunks_of(b"")), (b"content-length", b"4"), (b"upgrade", b"h2c"))


@pytest.mark.parametrize("before", [[], chunks_of(b"12", b"34")[:1]])
async def test_a_client_that_disconnects_has_no_body(before: list[Message]) -> None:
    assert await read(Wire([*before, DISCONNECT])) is None


async def test_a_slow_body_is_refused_after_the_grace_with_its_size_and_the_minimum_rate(
    virtual_time: VirtualTime,
) -> None:
    drops = Wire(chunks_of(*[b"x"] * LIMIT), pause_s=3.0)
    began = virtual_time()

    with pytest.raises(BodyTooSlow, match=r"4 bytes .* in 10.0 s; the least is 1000"):
        await read(drops, deadline_s=60, body_grace_s=10, min_body_bytes_per_s=1000)
    assert virtual_time() - began == pytest.approx(3 + 10)


async def test_a_body_above_the_minimum_rate_may_take_longer_than_the_grace(
    virtual_time: VirtualTime,
) -> None:
    steady = Wire(chunks_of(*[b"x"] * LIMIT), pause_s=0.9)
    began = virtual_time()

    body = await read(steady, deadline_s=60, body_grace_s=5, min_body_bytes_per_s=1)
    assert body == b"x" * LIMIT
    assert virtual_time() - began == pytest.approx(0.9 * LIMIT)


async def test_the_rate_counts_from_the_first_byte(
    virtual_time: VirtualTime,
) -> None:
    late = Wire([*chunks_of(b"1234", b"")], pause_s=9.5)
    began = virtual_time()

    assert await read(late, deadline_s=60) == b"1234"
    assert virtual_time() - began == pytest.approx(19)


async def test_a_body_without_a_first_byte_is_refused_after_the_grace(
    virtual_time: VirtualTime,
) -> None:
    silent = Wire(chunks_of(b"never"), pause_s=90.0)
    began = virtual_time()

    with pytest.raises(BodyTooSlow, match=r"0 bytes of the body came in 10\.0 s"):
        await read(silent, deadline_s=60)
    assert virtual_time() - began == pytest.approx(10)


@pytest.mark.parametrize("standstill_s", [0.3, 0.81, 1.0, 30.0])
async def test_time_in_which_the_process_stood_still_does_not_count(
    virtual_time: VirtualTime, standstill_s: float
) -> None:
    steady = Wire(chunks_of(b"12", b"34"), pause_s=0.4)
    asyncio.get_running_loop().call_later(0.2, virtual_time.stand_still, standstill_s)

    assert await read(steady, deadline_s=60, body_grace_s=1, min_body_bytes_per_s=1) == b"1234"


async def test_a_slow_body_is_refused_despite_a_standstill(
    virtual_time: VirtualTime,
) -> None:
    drops = Wire(chunks_of(*[b"x"] * LIMIT), pause_s=0.75)
    asyncio.get_running_loop().call_later(0.9, virtual_time.stand_still, 3.0)
    began = virtual_time()

    with pytest.raises(BodyTooSlow):
        await read(drops, deadline_s=60, body_grace_s=1, min_body_bytes_per_s=1000)
    assert virtual_time() - began == pytest.approx(0.75 + 1.0 + 3.0, abs=LISTEN_S)


async def test_a_standstill_does_not_move_the_deadline(virtual_time: VirtualTime) -> None:
    silent = Wire(chunks_of(b"never"), pause_s=90.0)
    asyncio.get_running_loop().call_later(0.5, virtual_time.stand_still, 60.0)
    began = virtual_time()

    with pytest.raises(BodyTooSlow):
        await read(silent, deadline_s=60, body_grace_s=1, min_body_bytes_per_s=1)
    assert virtual_time() - began == pytest.approx(60.5)


async def test_without_a_minimum_rate_only_the_deadline_ends_the_wait(
    virtual_time: VirtualTime,
) -> None:
    silent = Wire(chunks_of(b"never"), pause_s=90.0)
    began = virtual_time()

    with pytest.raises(BodyTooSlow):
        await read(silent, deadline_s=60, body_grace_s=1, min_body_bytes_per_s=0)
    assert virtual_time() - began == pytest.approx(60)


@pytest.mark.parametrize("encoding", [b"gzip", b"br", b"deflate, identity", b"x"])
async def test_a_compressed_body_is_refused_unread(encoding: bytes) -> None:
    wire = Wire(chunks_of(b"1234"))

    with pytest.raises(HTTPException, match="without content-encoding") as refused:
        await read(wire, (b"content-encoding", encoding))
    assert refused.value.status_code == 415
    assert len(wire.unread) == 1


async def test_a_body_with_identity_encoding_is_read() -> None:
    wire = Wire(chunks_of(b"1234"))

    assert await read(wire, (b"content-encoding", b" Identity ")) == b"1234"


async def test_a_body_that_has_arrived_is_read_in_the_same_iteration_of_the_loop() -> None:
    messages = chunks_of(b"12", b"34")

    async def receive() -> Message:
        return messages.pop(0)

    reading = read_body(receive, {}, IngressLimits(), Deadline.after(5), admit_nothing)
    with pytest.raises(StopIteration) as end:
        reading.send(None)
    assert end.value.value == b"1234"


async def test_an_error_of_the_server_is_raised_whether_it_comes_at_once_or_later() -> None:
    for pauses in (False, True):

        async def receive(pauses: bool = pauses) -> Message:
            if pauses:
                await asyncio.sleep(0)
            raise ConnectionError("lost")

        with pytest.raises(ConnectionError):
            await read_body(receive, {}, IngressLimits(), Deadline.after(5), admit_nothing)


async def test_a_cancelled_request_cancels_what_it_waits_for() -> None:
    ended: list[str] = []

    async def receive() -> Message:
        try:
            await asyncio.sleep(0)
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise
        raise AssertionError("nothing sets the event")

    for turns in (1, 2, 3):
        reading = asyncio.ensure_future(
            read_body(receive, {}, IngressLimits(), Deadline.after(5), admit_nothing)
        )
        for _ in range(turns):
            await asyncio.sleep(0)
        reading.cancel()
        await asyncio.wait({reading})
        await asyncio.sleep(0)
        assert reading.cancelled()
        assert ended == ["cancelled"] * turns
