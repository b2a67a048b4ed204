"""A uvicorn protocol that reads large bodies from a few connections at a time.

uvicorn reads from all connections in every iteration of the event loop, also what remains of a
body after its request has been refused. Hundreds of large bodies would make an iteration so long
that a health check, which takes several, would wait for a second.
"""

from __future__ import annotations

import asyncio
from collections import deque
from weakref import WeakKeyDictionary

from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

AT_ONCE = 4
"""Connections that continue to read in one iteration: at most 256 KiB each, in about 1 ms."""


class RoundRobin:
    """The turns of the connections of one server: `AT_ONCE` in each iteration of the loop."""

    def __init__(self) -> None:
        self._waiting: deque[FairFlow] = deque()
        self._left = AT_ONCE

    def wait(self, flow: FairFlow) -> None:
        """Let a connection read in this iteration or, if its turns are taken, in a later one."""
        if self._left == AT_ONCE:
            asyncio.get_running_loop().call_soon(self._next_iteration)
        self._waiting.append(flow)
        self._give_turns()

    def _give_turns(self) -> None:
        while self._waiting and self._left:
            self._left -= 1
            self._waiting.popleft().read()

    def _next_iteration(self) -> None:
        self._left = AT_ONCE
        if self._waiting:
            asyncio.get_running_loop().call_soon(self._next_iteration)
            self._give_turns()


class FairFlow(FlowControl):
    """The flow control of one connection, which resumes to read in its turn."""

    def __init__(self, transport: asyncio.Transport, turns: RoundRobin) -> None:
        super().__init__(transport)
        self._turns = turns
        self._is_waiting = False

    def resume_reading(self) -> None:
        """Wait for a turn, if reading is paused."""
        if self.read_paused and not self._is_waiting:
            self._is_waiting = True
            self._turns.wait(self)

    def read(self) -> None:
        """Resume to read, unless the connection has been closed."""
        self._is_waiting = False
        if not self._transport.is_closing():
            super().resume_reading()


class FairProtocol(HttpToolsProtocol):
    """uvicorn's protocol, in which a connection waits for its turn after each part of a body."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Give the connection a flow control that takes turns with those of the same server."""
        super().connection_made(transport)
        self.flow = FairFlow(transport, _TURNS.setdefault(self.server_state, RoundRobin()))

    def on_body(self, body: bytes) -> None:
        """Keep a part of a body; uvicorn pauses once it has 64 KiB that were not received."""
        super().on_body(body)
        if self.cycle.response_complete and not self.transport.is_closing():
            # uvicorn drops the part, and so would not pause.
            self.flow.pause_reading()
            self.flow.resume_reading()


_TURNS: WeakKeyDictionary[ServerState, RoundRobin] = WeakKeyDictionary()
