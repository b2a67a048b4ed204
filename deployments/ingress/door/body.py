"""Reading a request's body: never more bytes than the limit, nor for longer than they are worth.

Knows nothing of what the body means.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from starlette.exceptions import HTTPException
from starlette.types import Message, Receive

from deployments.ingress.door.keys import Headers
from deployments.ingress.door.refusals import BodyTooLarge, BodyTooSlow
from deployments.settings import IngressLimits

MAX_LENGTH_DIGITS = 18


async def read_body(
    receive: Receive, headers: Headers, limits: IngressLimits, deadline: float
) -> bytes | None:
    """Return the whole body of a request, or None where the client has gone meanwhile.

    Too large is refused by its header where that tells, else as soon as one byte too many has come.

    Raises:
        BodyTooLarge: it has more bytes than ``limits.max_body_bytes``.
        BodyTooSlow: it comes more slowly than ``limits.min_body_bytes_per_s``.
        HTTPException: 415, it is compressed.
    """
    _check_encoding(headers)
    size = _declared_bytes(headers)
    body = bytearray()
    began = time.monotonic()
    while size <= limits.max_body_bytes:
        until = min(began + _patience_s(len(body), limits), deadline)
        message = await _next(receive, until, began, len(body), limits)
        if message["type"] == "http.disconnect":
            return None
        body += message.get("body", b"")
        size = max(size, len(body))
        if not message.get("more_body", False) and size <= limits.max_body_bytes:
            return bytes(body)
    raise BodyTooLarge("body", "bytes", size, limits.max_body_bytes)


def replay(body: bytes, receive: Receive) -> Receive:
    """Give the body once, then whatever else comes: a disconnect."""
    waiting: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replayed() -> Message:
        return waiting.pop() if waiting else await receive()

    return replayed


async def _next(
    receive: Receive, until: float, began: float, size: int, limits: IngressLimits
) -> Message:
    """Return what comes next of a body, of which ``size`` bytes have come since ``began``."""
    try:
        return await asyncio.wait_for(receive(), max(0.0, until - time.monotonic()))
    except asyncio.TimeoutError:
        elapsed_s = time.monotonic() - began
        raise BodyTooSlow(size, elapsed_s, limits.min_body_bytes_per_s) from None


def _patience_s(size: int, limits: IngressLimits) -> float:
    """Return within how many seconds of its beginning a body must have more than ``size`` bytes."""
    if limits.min_body_bytes_per_s == 0:
        return float("inf")
    return max(limits.body_grace_s, size / limits.min_body_bytes_per_s)


def _check_encoding(headers: Headers) -> None:
    """Refuse what would have to be unpacked: a small body could become one of any size."""
    encoding: Any = dict(headers).get(b"content-encoding", b"identity").strip().lower()
    if encoding != b"identity":
        raise HTTPException(415, "a compressed body is not read; send it without content-encoding")


def _declared_bytes(headers: Headers) -> int:
    for name, value in headers:
        if name == b"content-length" and value.isdigit():
            # More digits than any body has; int() itself refuses thousands of them.
            return int(value[:MAX_LENGTH_DIGITS])
    return 0
