"""Compresses JSON responses with gzip, in threads, for clients that accept it.

Only complete responses above a size are compressed, and only if a sample shrinks: numbers as text
shrink to less than half, vectors in base64 hardly at all. Streams and binary formats are left as
they are.
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
"""The fastest level: level 6 takes five times as long on vectors, and saves 10 % more."""

SAMPLE_BYTES = 4096
MAX_RATIO = 0.6
"""A response is compressed if a sample shrinks below this share of its size."""

_THREADS = ThreadPoolExecutor(2, thread_name_prefix="compression")

_GZIP = re.compile(rb"(?:^|,)\s*(?:gzip|x-gzip|\*)\s*(?:;\s*q=([\d.]+)\s*)?(?=,|$)", re.IGNORECASE)


def accepts_gzip(headers: Headers) -> bool:
    """Return whether the ``accept-encoding`` of a request allows gzip, by name or by ``*``."""
    found = _GZIP.search(dict(headers).get(b"accept-encoding", b""))
    return found is not None and (found[1] is None or bool(found[1].strip(b"0.")))


class CompressingSend:
    """Sends the messages of one response, and compresses the body if that makes it smaller."""

    def __init__(self, send: Send, headers: Headers, least_bytes: int) -> None:
        self._send = send
        self._least_bytes = least_bytes
        self._accepts = accepts_gzip(headers)
        self._start: Message | None = None
        self._chunks: list[bytes] = []

    async def __call__(self, message: Message) -> None:
        """Send a message; hold back the start of a response until its whole body is known."""
        if message["type"] == "http.response.start" and self._is_large_json(message["headers"]):
            # On uncompressed responses too: a cache between must store the two separately.
            headers = [*message["headers"], (b"vary", b"accept-encoding")]
            message = {**message, "headers": headers}
            if self._accepts:
                self._start = message
                return
        elif self._start is not None:
            self._chunks.append(message.get("body", b""))
            if not message.get("more_body", False):
                await self._send_whole(self._start)
            return
        await self._send(message)

    async def _send_whole(self, start: Message) -> None:
        """Send the response of which all chunks have been collected."""
        chunks = self._chunks
        if _shrinks(chunks[len(chunks) // 2]):
            chunks = await asyncio.get_running_loop().run_in_executor(_THREADS, _compressed, chunks)
            size = sum(map(len, chunks))
            start = {**start, "headers": _compressed_headers(start["headers"], size)}
        await self._send(start)
        for at, chunk in enumerate(chunks, 1):
            more = at < len(chunks)
            await self._send({"type": "http.response.body", "body": chunk, "more_body": more})
            await asyncio.sleep(0)  # lets other requests run

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
    return len(zlib.compress(sample, LEVEL)) < MAX_RATIO * len(sample)


def _compressed(chunks: Sequence[bytes]) -> list[bytes]:
    """Return the chunks as one gzip stream."""
    packer = zlib.compressobj(LEVEL, wbits=zlib.MAX_WBITS | 16)
    packed = [*map(packer.compress, chunks), packer.flush()]
    return [chunk for chunk in packed if chunk]


def _compressed_headers(headers: Headers, size: int) -> list[tuple[bytes, bytes]]:
    kept = [(name, value) for name, value in headers if name != b"content-length"]
    return [*kept, (b"content-encoding", b"gzip"), (b"content-length", b"%d" % size)]
