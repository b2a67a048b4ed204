"""Raw HTTP requests that no client library would send."""

from __future__ import annotations

import contextlib
import http.client
import json
import select
import socket
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

PATIENCE_S = 10.0


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back, and how long after the connection was made."""

    status: int
    content_type: str
    body: bytes
    seconds: float

    def json(self) -> Any:
        """Return the body's value."""
        return json.loads(self.body)


def post(
    body: bytes,
    *,
    path: str = "/v1/embeddings",
    content_type: str = "application/json",
    length: object = None,
    headers: Iterable[str] = (),
) -> bytes:
    """Return the bytes of a request; ``length`` is the value of its header, right or wrong.

    With a ``transfer-encoding`` among the headers it has no length.
    """
    lines = [f"POST {path} HTTP/1.1", "host: test", f"content-type: {content_type}", *headers]
    if not any(line.startswith("transfer-encoding") for line in lines):
        lines.append(f"content-length: {len(body) if length is None else length}")
    return "\r\n".join([*lines, "", ""]).encode() + body


def chunked(*chunks: bytes) -> bytes:
    """Return a chunked request, whose last chunk must be empty for it to end."""
    body = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
    return post(body, headers=["transfer-encoding: chunked"])


def exchange(url: str, *pieces: bytes, pause_s: float = 0.0) -> Reply:
    """Send the pieces, waiting ``pause_s`` between them until an answer begins; return the answer.

    Raises:
        OSError: none came.
        http.client.HTTPException: what came is no HTTP.
    """
    began = time.monotonic()
    with connect(url) as connection:
        # A server may answer and close before it has read everything.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            for piece in pieces:
                connection.sendall(piece)
                if select.select([connection], [], [], pause_s)[0]:
                    break
        with contextlib.closing(http.client.HTTPResponse(connection)) as response:
            response.begin()
            body = response.read()
            kind = response.getheader("content-type", "")
            return Reply(response.status, kind, body, time.monotonic() - began)


def connect(url: str) -> socket.socket:
    """Return a connection to the service at ``url``."""
    address = urlsplit(url)
    assert address.hostname is not None
    assert address.port is not None
    return socket.create_connection((address.hostname, address.port), timeout=PATIENCE_S)
