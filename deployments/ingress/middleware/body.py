"""Reads the body of a request within a limit of bytes and a minimum rate."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from starlette.exceptions import HTTPException
from starlette.types import Message, Receive

from deployments.ingress.errors.http_errors import BodyTooLarge, BodyTooSlow
from deployments.ingress.middleware.keys import Headers
from deployments.ingress.middleware.large_bodies import INLINE_BYTES
from deployments.settings.limits import IngressLimits
from embedder.core.deadline import Deadline
from embedder.core.errors import InvalidInput
from embedder.pipeline.work_queue import AdmittedJob

MAX_LENGTH_DIGITS = 18

LISTEN_S = 0.1
"""Seconds of one wait for a body, and the most that one wait counts against the client."""

SHORTEST_WAIT_S = 0.001
"""A remaining time below this counts as 0, because sums of seconds are rounded."""


Admit = Callable[[int, bytes], AdmittedJob]
"""Admits a large body by its size in bytes and its first bytes, before the rest is read."""

SLOW_S = 0.5
"""Seconds of waiting for a client after which only the bytes that have arrived count as queued."""


async def read_body(
    receive: Receive, headers: Headers, limits: IngressLimits, deadline: Deadline, admit: Admit
) -> bytes | None:
    """Return the whole body of a request, or None if the client has disconnected.

    A body that is too large is refused by its content-length, else at the first byte above the
    limit. A large body is admitted when its first bytes have arrived.

    Raises:
        BodyTooLarge: the body has more bytes than ``limits.max_body_bytes``.
        BodyTooSlow: the body arrives more slowly than ``limits.min_body_bytes_per_s``.
        InvalidInput: a proxy dropped the body because the request offers a protocol upgrade.
        HTTPException: 415, the body is compressed.
        Overloaded: as ``admit`` raises it.
    """
    _check_encoding(headers)
    size = _declared_bytes(headers)
    body = bytearray()
    receiver = _BodyReceiver(receive, limits, deadline)
    job: AdmittedJob | None = None
    while size <= limits.max_body_bytes:
        message = await receiver.next(len(body))
        if message["type"] == "http.disconnect":
            return None
        body += message.get("body", b"")
        size = max(size, len(body))
        if job is None and size > INLINE_BYTES:
            job = admit(size, bytes(body))
        elif job is not None:
            job.resize(len(body) if receiver.listened_s > SLOW_S else size)
        if not message.get("more_body", False) and size <= limits.max_body_bytes:
            _check_offer(headers, size - len(body))
            return bytes(body)
    raise BodyTooLarge("body", "bytes", size, limits.max_body_bytes)


def replay(body: bytes, receive: Receive) -> Receive:
    """Return a ``receive`` that gives the body once, and then what ``receive`` gives."""
    waiting: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replayed() -> Message:
        return waiting.pop() if waiting else await receive()

    return replayed


class _BodyReceiver:
    """Receives the messages of one body, and refuses a body that arrives too slowly.

    The rate counts from the first byte, because clients may build a large body after they have
    sent the headers. Only the time in which this process waited for the body counts: while the
    event loop is blocked, bytes may have arrived that it has not read.
    """

    def __init__(self, receive: Receive, limits: IngressLimits, deadline: Deadline) -> None:
        self._receive = receive
        self._limits = limits
        self._deadline = deadline
        self.listened_s = 0.0

    async def next(self, size: int) -> Message:
        """Return the next message of a body of which ``size`` bytes have arrived."""
        receiving = asyncio.ensure_future(self._receive())
        try:
            while not receiving.done():
                left_s = self._left_s(size)
                if left_s < SHORTEST_WAIT_S:
                    raise BodyTooSlow(size, self.listened_s, self._limits.min_body_bytes_per_s)
                await self._listen(receiving, min(left_s, LISTEN_S))
            message = receiving.result()
            if size == 0 and message.get("body"):
                self.listened_s = 0.0
            return message
        finally:
            receiving.cancel()

    async def _listen(self, receiving: asyncio.Future[Message], seconds: float) -> None:
        began = time.monotonic()
        await asyncio.wait({receiving}, timeout=seconds)
        self.listened_s += min(time.monotonic() - began, seconds)

    def _left_s(self, size: int) -> float:
        """Return for how many seconds more to wait if ``size`` bytes have arrived."""
        until_deadline_s = self._deadline.remaining_s()
        if self._limits.min_body_bytes_per_s == 0:
            return until_deadline_s
        worth_s = max(self._limits.body_grace_s, size / self._limits.min_body_bytes_per_s)
        return min(worth_s - self.listened_s, until_deadline_s)


def _check_encoding(headers: Headers) -> None:
    """Refuse a compressed body: it could decompress to any size."""
    encoding: Any = dict(headers).get(b"content-encoding", b"identity").strip().lower()
    if encoding != b"identity":
        raise HTTPException(415, "a compressed body is not read; send it without content-encoding")


def _check_offer(headers: Headers, missing: int) -> None:
    """Refuse a body that a proxy without `DecliningProtocol` dropped for an upgrade offer."""
    if missing > 0 and b"upgrade" in dict(headers):
        raise InvalidInput(
            "upgrade",
            "is an offer for which a proxy dropped the body: send the request without it, or see "
            "docs/clients.md for the setting of the proxy",
        )


def _declared_bytes(headers: Headers) -> int:
    for name, value in headers:
        if name == b"content-length" and value.isdigit():
            # Cut, because int() refuses thousands of digits.
            return int(value[:MAX_LENGTH_DIGITS])
    return 0
