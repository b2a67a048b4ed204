"""Responses of JSON, arrays of numpy included, and the check that a request is JSON."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any

import orjson
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from deployments.ingress.middleware.keys import Headers
from deployments.ingress.wire.json_chunks import json_chunks
from deployments.rpc.cooperative_yield import CooperativeYield

PART_BYTES = 2**20
"""Bytes of an answer that are sent together: copies of more would hold the interpreter too."""


class _PartsResponse(Response):
    """A large JSON response, sent in parts."""

    media_type = "application/json"

    def __init__(self, parts: Sequence[bytes]) -> None:
        super().__init__(headers={"content-length": str(sum(map(len, parts)))})
        self._parts = parts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response, and let others run after each part."""
        start = {"status": self.status_code, "headers": self.raw_headers}
        await send({"type": "http.response.start", **start})
        for at, part in enumerate(self._parts, 1):
            more = at < len(self._parts)
            await send({"type": "http.response.body", "body": part, "more_body": more})
            await asyncio.sleep(0)


async def json_response(content: Any) -> Response:
    """Return a JSON response, written in pieces as `json_chunks` has them; others run in between.

    numpy arrays are written as they are, without Python floats.
    """
    parts, pieces, size = list[bytes](), list[bytes](), 0
    yielding = CooperativeYield()
    for piece in json_chunks(content):
        pieces.append(piece)
        size += len(piece)
        if size >= PART_BYTES:
            parts.append(b"".join(pieces))
            pieces, size = [], 0
        await yielding.after(len(piece))
    parts.append(b"".join(pieces))
    return (
        Response(parts[0], media_type="application/json")
        if len(parts) == 1
        else _PartsResponse(parts)
    )


def json_lines(objects: Iterable[Any]) -> bytes:
    """Return a line of JSON for every object."""
    option = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE
    return b"".join(orjson.dumps(one, option=option) for one in objects)


def check_content_type(headers: Headers) -> None:
    """Refuse a body that does not say that it is JSON.

    Raises:
        HTTPException: 415, as said.
    """
    kind = dict(headers).get(b"content-type", b"").partition(b";")[0].strip().lower()
    if kind != b"application/json":
        raise HTTPException(415, "the content-type must be application/json")
