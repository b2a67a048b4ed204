"""Reading a request's body: never more bytes than the limit, nor for longer than they are worth.

Knows nothing of what the body means.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from starlette.exceptions import HTTPException
from starlette.types import Message, Receive

from deployments.ingress.errors.http_errors import BodyTooLarge, BodyTooSlow
from deployments.ingress.middleware.keys import Headers
from deployments.settings.limits import IngressLimits
from embedder.core.errors import InvalidInput

MAX_LENGTH_DIGITS = 18

LISTEN_S = 0.1
"""Seconds of one wait for a body; whatever it takes, a client is charged for no more than these."""

SHORTEST_WAIT_S = 0.001
"""A rest below this counts as none: sums of seconds are rounded, and would leave a tiny rest."""


async def read_body(
    receive: Receive, headers: Headers, limits: IngressLimits, deadline: float
) -> bytes | None:
    """Return the whole body of a request, or None where the client has gone meanwhile.

    Too large is refused by its header where that tells, else as soon as one byte too many has come.

    Raises:
        BodyTooLarge: it has more bytes than ``limits.max_body_bytes``.
        BodyTooSlow: it comes more slowly than ``limits.min_body_bytes_per_s``.
        InvalidInput: a proxy lost it because the request offers to upgrade the connection.
        HTTPException: 415, it is compressed.
    """
    _check_encoding(headers)
    size = _declared_bytes(headers)
    body = bytearray()
    arrival = _Arrival(receive, limits, deadline)
    while size <= limits.max_body_bytes:
        message = await arrival.next(len(body))
        if message["type"] == "http.disconnect":
            return None
        body += message.get("body", b"")
        size = max(size, len(body))
        if not message.get("more_body", False) and size <= limits.max_body_bytes:
            _check_offer(headers, size - len(body))
            return bytes(body)
    raise BodyTooLarge("body", "bytes", size, limits.max_body_bytes)


def replay(body: bytes, receive: Receive) -> Receive:
    """Give the body once, then whatever else comes: a disconnect."""
    waiting: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replayed() -> Message:
        return waiting.pop() if waiting else await receive()

    return replayed


class _Arrival:
    """The messages of one body, and whether they come in time.

    The pace counts from the first byte: clients make large bodies after they have sent the headers.

    What counts is the time in which the process listened: while it stands still, it sees nothing of
    what a client sends.
    """

    def __init__(self, receive: Receive, limits: IngressLimits, deadline: float) -> None:
        self._receive = receive
        self._limits = limits
        self._deadline = deadline
        self._listened_s = 0.0

    async def next(self, size: int) -> Message:
        """Return what comes next of a body of which ``size`` bytes have come."""
        coming = asyncio.ensure_future(self._receive())
        try:
            while not coming.done():
                left_s = self._left_s(size)
                if left_s < SHORTEST_WAIT_S:
                    raise BodyTooSlow(size, self._listened_s, self._limits.min_body_bytes_per_s)
                await self._listen(coming, min(left_s, LISTEN_S))
            message = coming.result()
            if size == 0 and message.get("body"):
                self._listened_s = 0.0
            return message
        finally:
            coming.cancel()

    async def _listen(self, coming: asyncio.Future[Message], seconds: float) -> None:
        began = time.monotonic()
        await asyncio.wait({coming}, timeout=seconds)
        self._listened_s += min(time.monotonic() - began, seconds)

    def _left_s(self, size: int) -> float:
        """Return how much longer to listen for more than ``size`` bytes."""
        until_deadline_s = self._deadline - time.monotonic()
        if self._limits.min_body_bytes_per_s == 0:
            return until_deadline_s
        worth_s = max(self._limits.body_grace_s, size / self._limits.min_body_bytes_per_s)
        return min(worth_s - self._listened_s, until_deadline_s)


def _check_encoding(headers: Headers) -> None:
    """Refuse what would have to be unpickled: a small body could become one of any size."""
    encoding: Any = dict(headers).get(b"content-encoding", b"identity").strip().lower()
    if encoding != b"identity":
        raise HTTPException(415, "a compressed body is not read; send it without content-encoding")


def _check_offer(headers: Headers, missing: int) -> None:
    """Refuse a body that a server of Ray, started without our protocol, has lost for an offer."""
    if missing > 0 and b"upgrade" in dict(headers):
        raise InvalidInput(
            "upgrade",
            "is an offer for which a proxy dropped the body: send the request without it, or see "
            "docs/clients.md for the setting of the proxy",
        )


def _declared_bytes(headers: Headers) -> int:
    for name, value in headers:
        if name == b"content-length" and value.isdigit():
            # More digits than any body has; int() itself refuses thousands of them.
            return int(value[:MAX_LENGTH_DIGITS])
    return 0
