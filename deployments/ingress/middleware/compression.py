"""JSON answers compressed for clients that accept it, beside the event loop.

Only whole answers above a size, and only where a sample of them shrinks: numbers written as text
become less than half, vectors in base64 hardly anything. Streams and binary formats stay as they
are. A client that does not ask for compression pays for a comparison of two numbers.
"""

from __future__ import annotations

import asyncio
import re
import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from starlette.types import Message, Send

from deployments.ingress.middleware.keys import Headers

LEVEL = 1
"""The fastest: level 6 takes five times as long on vectors, and saves a tenth more."""

SAMPLE_BYTES = 4096
WORTH = 0.6
"""Compress where a sample becomes smaller than this share of itself."""

_THREADS = ThreadPoolExecutor(2, thread_name_prefix="compression")

_GZIP = re.compile(rb"(?:^|,)\s*(?:gzip|x-gzip|\*)\s*(?:;\s*q=([\d.]+)\s*)?(?=,|$)", re.IGNORECASE)


def accepts_gzip(headers: Headers) -> bool:
    """Return whether the ``accept-encoding`` of a request names gzip, or all, and not with q=0."""
    found = _GZIP.search(dict(headers).get(b"accept-encoding", b""))
    return found is not None and (found[1] is None or bool(found[1].strip(b"0.")))


class Compressing:
    """Sends the messages of one answer, whose body is compressed if that is worth it."""

    def __init__(self, send: Send, headers: Headers, least_bytes: int) -> None:
        self._send = send
        self._least_bytes = least_bytes
        self._accepts = accepts_gzip(headers)
        self._start: Message | None = None
        self._parts: list[bytes] = []

    async def __call__(self, message: Message) -> None:
        """Send a message, or keep the start of an answer until its body is known."""
        if message["type"] == "http.response.start" and self._is_large_json(message["headers"]):
            # On uncompressed answers too: a cache on the way must keep the two apart.
            headers = [*message["headers"], (b"vary", b"accept-encoding")]
            message = {**message, "headers": headers}
            if self._accepts:
                self._start = message
                return
        elif self._start is not None:
            self._parts.append(message.get("body", b""))
            if not message.get("more_body", False):
                await self._send_whole(self._start)
            return
        await self._send(message)

    async def _send_whole(self, start: Message) -> None:
        """Send the answer whose parts are here, with its start."""
        parts = self._parts
        if _shrinks(parts[len(parts) // 2]):
            parts = await asyncio.get_running_loop().run_in_executor(_THREADS, _compressed, parts)
            size = sum(map(len, parts))
            start = {**start, "headers": _compressed_headers(start["headers"], size)}
        await self._send(start)
        for at, part in enumerate(parts, 1):
            more = at < len(parts)
            await self._send({"type": "http.response.body", "body": part, "more_body": more})
            await asyncio.sleep(0)  # a large answer holds up no others

    def _is_large_json(self, headers: Headers) -> bool:
        named = dict(headers)
        length = named.get(b"content-length", b"")
        return (
            length.isdigit()
            and int(length) >= self._least_bytes
            and named.get(b"content-type", b"").startswith(b"application/json")
            and b"content-encoding" not in named
        )


def _shrinks(body: bytes) -> bool:
    middle = len(body) // 2
    sample = body[middle : middle + SAMPLE_BYTES]
    return len(zlib.compress(sample, LEVEL)) < WORTH * len(sample)


def _compressed(parts: Sequence[bytes]) -> list[bytes]:
    """Return the parts of one file of gzip."""
    packer = zlib.compressobj(LEVEL, wbits=zlib.MAX_WBITS | 16)
    packed = [*map(packer.compress, parts), packer.flush()]
    return [part for part in packed if part]


def _compressed_headers(headers: Headers, size: int) -> list[tuple[bytes, bytes]]:
    kept = [(name, value) for name, value in headers if name != b"content-length"]
    return [*kept, (b"content-encoding", b"gzip"), (b"content-length", b"%d" % size)]
