"""Responses of JSON, arrays of numpy included, and the check that a request is JSON."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from deployments.ingress.wire.json_chunks import json_chunks
from deployments.rpc.cooperative_yield import YIELD_BYTES, CooperativeYield

MEDIA_TYPE = "application/json"

CHUNK_BYTES = 2**20
"""Bytes that are sent at a time: copying more would hold the interpreter lock for long."""


class ChunkedResponse(Response):
    """A large JSON response, sent in chunks."""

    media_type = MEDIA_TYPE

    def __init__(
        self, chunks: Sequence[bytes], status: int = 200, headers: Mapping[str, str] | None = None
    ) -> None:
        length = str(sum(map(len, chunks)))
        super().__init__(None, status, {**(headers or {}), "content-length": length})
        self.chunks = chunks

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response, and let other requests run after each chunk."""
        start = {"status": self.status_code, "headers": self.raw_headers}
        await send({"type": "http.response.start", **start})
        for at, chunk in enumerate(self.chunks, 1):
            more = at < len(self.chunks)
            await send({"type": "http.response.body", "body": chunk, "more_body": more})
            await asyncio.sleep(0)


async def json_response(content: Any, expected_bytes: float = math.inf) -> Response:
    """Return a JSON response; other requests run between its `json_chunks`.

    If ``expected_bytes`` are few, all is written in one step. Iterators are written as lists, and
    arrays of numpy without Python numbers.
    """
    if expected_bytes <= YIELD_BYTES:
        whole = orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY, default=list)
        return Response(whole, media_type=MEDIA_TYPE)
    sent, chunks, size = list[bytes](), list[bytes](), 0
    yielding = CooperativeYield()
    for chunk in json_chunks(content):
        chunks.append(chunk)
        size += len(chunk)
        if size >= CHUNK_BYTES:
            sent.append(b"".join(chunks))
            chunks, size = [], 0
        await yielding.after(len(chunk))
    sent.append(b"".join(chunks))
    return Response(sent[0], media_type=MEDIA_TYPE) if len(sent) == 1 else ChunkedResponse(sent)


def content_of(response: Response) -> bytes:
    """Return the JSON of a response."""
    if isinstance(response, ChunkedResponse):
        return b"".join(response.chunks)
    return bytes(response.body)


def json_lines(objects: Iterable[Any]) -> bytes:
    """Return one line of JSON for each object."""
    option = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE
    return b"".join(orjson.dumps(one, option=option) for one in objects)


def check_content_type(kind: bytes) -> None:
    """Check that a ``content-type`` is that of JSON.

    Raises:
        HTTPException: 415, it is another type.
    """
    if kind.partition(b";")[0].strip().lower() != MEDIA_TYPE.encode():
        raise HTTPException(415, "the content-type must be application/json")
