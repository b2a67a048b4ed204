"""Reads the body of a request within a limit of bytes and a minimum rate."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from starlette.exceptions import HTTPException
from starlette.types import Message, Receive

from deployments.ingress.errors.http_errors import BodyTooLarge, BodyTooSlow
from deployments.ingress.middleware.first_step import finish
from deployments.ingress.middleware.keys import Headers
from deployments.ingress.middleware.large_bodies import INLINE_BYTES
from deployments.settings.service import IngressLimits
from embedder.core.deadline import Deadline
from embedder.core.errors import InvalidInput
from embedder.pipeline.work_queue import AdmittedJob

MAX_LENGTH_DIGITS = 18

LISTEN_S = 0.1
"""Seconds of one wait for a body, and the most that one wait counts against the client."""

SHORTEST_WAIT_S = 0.001
"""A remaining time below this counts as 0, because sums of seconds are rounded."""

SLOW_S = 0.5
"""Seconds of waiting for a client after which only the bytes that have arrived count as queued."""

Admit = Callable[[int, bytes], AdmittedJob]
"""Admits a large body by its size in bytes and its first bytes, before the rest is read."""


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
    size = _declared_bytes(headers)
    chunks, received = list[bytes](), 0
    listener = _Listener(limits, deadline)
    job: AdmittedJob | None = None
    while size <= limits.max_body_bytes:
        steps = receive().__await__()
        try:
            awaited = next(steps)
        except StopIteration as arrived:  # at once, without a task
            message: Message = arrived.value
        else:
            message = await listener.wait(finish(steps, awaited), received)
        if message["type"] == "http.disconnect":
            return None
        chunks.append(message.get("body", b""))
        received += len(chunks[-1])
        size = max(size, received)
        if job is None and size > INLINE_BYTES:
            job = admit(size, b"".join(chunks))
        elif job is not None:
            job.resize(received if listener.listened_s > SLOW_S else size)
        if not message.get("more_body", False) and size <= limits.max_body_bytes:
            _check_offer(headers, size - received)
            return b"".join(chunks)
    raise BodyTooLarge("body", "bytes", size, limits.max_body_bytes)


def _declared_bytes(headers: Headers) -> int:
    """Return the declared size of a body, 0 if none is declared.

    Raises:
        HTTPException: 415, the body is compressed: it could decompress to any size.
    """
    if headers.get(b"content-encoding", b"identity").strip().lower() != b"identity":
        raise HTTPException(415, "a compressed body is not read; send it without content-encoding")
    declared = headers.get(b"content-length", b"")
    # Cut, because int() refuses thousands of digits.
    return int(declared[:MAX_LENGTH_DIGITS]) if declared.isdigit() else 0


def _check_offer(headers: Headers, missing: int) -> None:
    """Refuse a body that a proxy without `DecliningProtocol` dropped for an upgrade offer."""
    if missing > 0 and b"upgrade" in headers:
        raise InvalidInput(
            "upgrade",
            "is an offer for which a proxy dropped the body: send the request without it, or see "
            "docs/clients.md for the setting of the proxy",
        )


@dataclass(slots=True)
class _Listener:
    """Waits for the messages of one body, and refuses a body that arrives too slowly.

    The rate counts from the first byte, because clients may build a large body after they have
    sent the headers. Only the time in which this process waited for the body counts: while the
    event loop is blocked, bytes may have arrived that it has not read.
    """

    limits: IngressLimits
    deadline: Deadline
    listened_s: float = 0.0

    async def wait(self, awaited: Awaitable[Message], received: int) -> Message:
        """Return the next message of a body of which ``received`` bytes have arrived."""
        receiving = asyncio.ensure_future(awaited)
        try:
            while not receiving.done():
                left_s = self._left_s(received)
                if left_s < SHORTEST_WAIT_S:
                    raise BodyTooSlow(received, self.listened_s, self.limits.min_body_bytes_per_s)
                began, seconds = time.monotonic(), min(left_s, LISTEN_S)
                await asyncio.wait({receiving}, timeout=seconds)
                self.listened_s += min(time.monotonic() - began, seconds)
            message = receiving.result()
            if received == 0 and message.get("body"):
                self.listened_s = 0.0
            return message
        finally:
            receiving.cancel()

    def _left_s(self, received: int) -> float:
        """Return for how many seconds more to wait if ``received`` bytes have arrived."""
        until_deadline_s = self.deadline.remaining_s()
        if self.limits.min_body_bytes_per_s == 0:
            return until_deadline_s
        worth_s = max(self.limits.body_grace_s, received / self.limits.min_body_bytes_per_s)
        return min(worth_s - self.listened_s, until_deadline_s)
