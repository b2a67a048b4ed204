"""The client of the drill repeats what a failing service may refuse, until its deadline."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine

import httpx
import pytest

from tests.drill.retrying import AVOIDED_S, DEADLINE_S, LOST, PAUSE_S, READ_S, RetryingTransport
from tests.unit.virtual_time import VirtualTime

Answer = (
    Callable[[httpx.Request], httpx.Response]
    | Callable[[httpx.Request], Coroutine[None, None, httpx.Response]]
)

URLS = ("http://a:1", "http://b:2")


def _client(
    answer: Answer,
) -> tuple[httpx.AsyncClient, RetryingTransport]:
    transport = RetryingTransport(URLS, httpx.MockTransport(answer))
    return httpx.AsyncClient(transport=transport, base_url="http://any", timeout=None), transport


async def test_lost_connections_and_503_are_repeated_at_every_address(
    virtual_time: VirtualTime,
) -> None:
    hosts = []

    def answer(request: httpx.Request) -> httpx.Response:
        hosts.append((request.url.host, request.url.port, request.content))
        if len(hosts) == 1:
            raise httpx.RemoteProtocolError("cut")
        if len(hosts) == 2:
            return httpx.Response(503, headers={"retry-after": "7"})
        return httpx.Response(200, json={})

    client, transport = _client(answer)
    began_s = virtual_time()
    response = await client.post("/v1/collections/a/points", content=b"body")
    (note,) = transport.requests

    assert response.status_code == 200
    assert sorted({*hosts}) == [("a", 1, b"body"), ("b", 2, b"body")]
    assert dict(note.retries) == {LOST: 1, "503": 1}
    assert note.succeeded
    assert note.is_of_index
    assert (len(note.unavailable), note.without_retry_after) == (1, 0)
    assert note.ended_s - began_s >= 7.0


async def test_an_address_is_left_out_after_a_lost_connection(virtual_time: VirtualTime) -> None:
    hosts = []

    def answer(request: httpx.Request) -> httpx.Response:
        hosts.append(request.url.host)
        if request.url.host == "a":
            raise httpx.ConnectTimeout("vanished")
        return httpx.Response(200)

    client, _ = _client(answer)
    for _ in range(6):
        await client.get("/healthz")
    await asyncio.sleep(AVOIDED_S)
    for _ in range(2):
        await client.get("/healthz")

    assert (hosts.count("a"), hosts.count("b")) == (2, 8)


async def test_an_attempt_without_an_answer_leaves_time_for_another_one(
    virtual_time: VirtualTime,
) -> None:
    async def answer(request: httpx.Request) -> httpx.Response:
        if not transport.requests[0].attempts:
            await asyncio.sleep(request.extensions["timeout"]["read"])
            raise httpx.ReadTimeout("hung")
        return httpx.Response(200)

    client, transport = _client(answer)
    began_s = virtual_time()
    response = await client.post("/embed", json={})
    (note,) = transport.requests

    assert response.status_code == 200
    assert READ_S <= virtual_time() - began_s <= READ_S + PAUSE_S[0]
    assert note.attempts == [f"b ReadTimeout {READ_S:.1f} s", "a 200 0.0 s"]
    assert note.retries == {LOST: 1}


async def test_other_errors_are_final(virtual_time: VirtualTime) -> None:
    client, transport = _client(lambda _: httpx.Response(500, text="a failure"))
    response = await client.post("/embed", json={})
    (note,) = transport.requests

    assert response.status_code == 500
    assert not note.is_of_index
    assert (note.status, note.reason, note.retries.total()) == (500, "a failure", 0)


@pytest.mark.parametrize("status", [0, 503])
async def test_a_request_ends_by_its_deadline(virtual_time: VirtualTime, status: int) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if status == 0:
            raise httpx.ConnectError("refused")
        return httpx.Response(status)

    client, transport = _client(answer)
    began_s = virtual_time()
    if status == 0:
        with pytest.raises(httpx.ConnectError):
            await client.post("/embed", json={})
    else:
        assert (await client.post("/embed", json={})).status_code == status
    (note,) = transport.requests

    assert DEADLINE_S - 2 < virtual_time() - began_s <= DEADLINE_S
    assert not note.succeeded
    assert note.without_retry_after == (0 if status == 0 else note.retries["503"] + 1)
