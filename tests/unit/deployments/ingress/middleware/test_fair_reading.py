"""Large bodies are read from a few connections in each iteration of the event loop."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import Any

import uvicorn
from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.server import ServerState

from deployments.ingress.middleware.fair_reading import AT_ONCE, FairProtocol

MANY = 3 * AT_ONCE
PART = b"x" * (HIGH_WATER_LIMIT + 1)
PARTS = 5
HEAD = b"POST / HTTP/1.1\r\nhost: test\r\ncontent-length: %d\r\n\r\n" % (PARTS * len(PART))


class Transport(asyncio.Transport):
    """A connection; ``sent`` is what the server has written."""

    def __init__(self) -> None:
        super().__init__()
        self.reading = True
        self.closing = False
        self.sent = b""

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default

    def is_closing(self) -> bool:
        return self.closing

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        assert not self.closing
        self.reading = True

    def write(self, data: Any) -> None:
        self.sent += bytes(data)


class Server:
    """A server with some connections; its application refuses bodies, or returns their sizes."""

    def __init__(self, count: int, *, refuses: bool) -> None:
        self._refuses = refuses
        self._state = ServerState()
        self._config = uvicorn.Config(
            self._answer, interface="asgi3", lifespan="off", log_config=None
        )
        self.transports = [Transport() for _ in range(count)]
        self.protocols = [self._connected(transport) for transport in self.transports]

    @property
    def reading(self) -> int:
        """Return from how many connections the server reads."""
        return sum(transport.reading for transport in self.transports)

    def receive(self, data: bytes) -> None:
        """Let data arrive on every connection from which the server reads."""
        for transport, protocol in zip(self.transports, self.protocols, strict=True):
            if transport.reading:
                protocol.data_received(data)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        size, more = 0, True
        while more:
            message = await receive()
            size += len(message["body"])
            more = message["more_body"] and not self._refuses
        await Response(str(size), 429 if self._refuses else 200)(scope, receive, send)

    def _connected(self, transport: Transport) -> FairProtocol:
        protocol = FairProtocol(self._config, self._state, {}, asyncio.get_running_loop())
        protocol.connection_made(transport)
        return protocol


async def _iterations(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_what_remains_of_refused_bodies_is_read_from_a_few_connections_at_a_time() -> None:
    server = Server(MANY, refuses=True)
    server.receive(HEAD + PART)
    await _iterations(20)
    assert all(transport.sent.startswith(b"HTTP/1.1 429") for transport in server.transports)
    assert server.reading == MANY

    server.receive(PART)
    counts = []
    for _ in range(4):
        counts.append(server.reading)
        await asyncio.sleep(0)

    assert counts == [AT_ONCE, 2 * AT_ONCE, MANY, MANY]


async def test_large_bodies_that_are_received_take_turns_too() -> None:
    server = Server(MANY, refuses=False)
    server.receive(HEAD + PART)
    counts = [server.reading]
    for _ in range(20):
        await asyncio.sleep(0)
        counts.append(server.reading)

    assert counts[0] == 0
    assert counts[-1] == MANY
    assert max(after - before for before, after in pairwise(counts)) == AT_ONCE


async def test_a_body_that_is_read_in_turns_is_whole_and_the_connection_serves_on() -> None:
    for refuses in (False, True):
        server = Server(MANY, refuses=refuses)
        for _ in range(2):
            server.receive(HEAD)
            for _ in range(PARTS):
                await _iterations(20)
                assert server.reading == MANY
                server.receive(PART)
            await _iterations(20)

        for transport in server.transports:
            assert transport.sent.count(b"HTTP/1.1") == 2
            assert refuses or transport.sent.endswith(b"%d" % (PARTS * len(PART)))


async def test_a_lone_connection_does_not_wait() -> None:
    server = Server(1, refuses=True)
    server.receive(HEAD + PART)
    await _iterations(20)
    for _ in range(PARTS - 1):
        server.receive(PART)
        assert server.reading == 1
        await asyncio.sleep(0)


async def test_a_connection_that_is_closed_before_its_turn_is_left_alone() -> None:
    server = Server(MANY, refuses=True)
    server.receive(HEAD + PART)
    await _iterations(20)
    server.receive(PART)
    for transport, protocol in zip(server.transports, server.protocols, strict=True):
        if not transport.reading:
            transport.closing = True
            protocol.connection_lost(ConnectionResetError())
    await _iterations(20)

    assert server.reading == AT_ONCE
