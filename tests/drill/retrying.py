"""A client that repeats what a failing service may refuse, as docs/failures.md asks of clients.

Lost connections and 429, 502, 503 and 504 are repeated, at the next address, until the deadline of
the request. Any other answer is final.
"""

from __future__ import annotations

import asyncio
import random
import socket
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import httpx

DEADLINE_S = 60.0
CONNECT_S = 2.0
"""A node that has vanished refuses no connection."""

READ_S = 30.0
"""How long one attempt waits for its answer: longer than the replacement of a process that hangs,
and there is time for another attempt."""

KEEPALIVE = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 2),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
    (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 5000),
)
"""A connection to a node that has vanished ends after 5 s."""

AVOIDED_S = 5.0
"""How long an address is left out after a lost connection, if there are others."""

PAUSE_S = (0.1, 1.0)
"""The first and the longest pause before a request is repeated, if the answer names none."""

REPEATED = (429, 502, 503, 504)
LOST = "connection lost"


@dataclass(slots=True)
class Request:
    """What became of one request; times are of ``time.monotonic``.

    ``status`` is that of the last answer, 0 without one. ``unavailable`` has the time of each 503,
    ``attempts`` what came of each attempt: where it was sent, and after how many seconds it ended.
    """

    is_of_index: bool
    began_s: float
    ended_s: float = 0.0
    status: int = 0
    retries: Counter[str] = field(default_factory=Counter)
    unavailable: list[float] = field(default_factory=list)
    without_retry_after: int = 0
    reason: str = ""
    attempts: list[str] = field(default_factory=list)

    @property
    def succeeded(self) -> bool:
        """Return whether the last answer was a success."""
        return httpx.codes.is_success(self.status)


class RetryingTransport(httpx.AsyncBaseTransport):
    """Sends the requests of an `httpx.AsyncClient` to ``urls`` and notes each in ``requests``."""

    def __init__(self, urls: Sequence[str], inner: httpx.AsyncBaseTransport | None = None) -> None:
        self.requests: list[Request] = []
        self._urls = [httpx.URL(url) for url in urls]
        self._inner = inner or httpx.AsyncHTTPTransport(
            limits=httpx.Limits(max_connections=None), socket_options=list(KEEPALIVE)
        )
        self._turn = 0
        self._avoided_until = dict.fromkeys(self._urls, 0.0)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Return the first final answer, or the last one before the deadline.

        Raises:
            httpx.TransportError: the last attempt had no answer.
        """
        note = Request(request.url.path.startswith("/v1/collections"), time.monotonic())
        self.requests.append(note)
        try:
            return await self._until_final(request, note)
        finally:
            note.ended_s = time.monotonic()

    async def aclose(self) -> None:
        """Close all connections."""
        await self._inner.aclose()

    async def _until_final(self, request: httpx.Request, note: Request) -> httpx.Response:
        attempt = 0
        while True:
            remaining_s = max(note.began_s + DEADLINE_S - time.monotonic(), 0.01)
            response: httpx.Response | None = None
            try:
                response = await self._attempt(request, note, remaining_s)
            except httpx.TransportError as error:
                failure = error
                note.status, note.reason = 0, repr(error)
                pause_s = _pause_s(attempt)
                repeated = LOST
            else:
                note.status = response.status_code
                if response.status_code not in REPEATED:
                    note.reason = "" if note.succeeded else response.text[:300]
                    return response
                pause_s = self._refused(response, note, attempt)
                repeated = str(response.status_code)
            if time.monotonic() + pause_s > note.began_s + DEADLINE_S:
                if response is None:
                    raise failure
                return response
            note.retries[repeated] += 1
            attempt += 1
            await asyncio.sleep(pause_s)

    async def _attempt(
        self, request: httpx.Request, note: Request, remaining_s: float
    ) -> httpx.Response:
        url, sent_s = self._next_url(), time.monotonic()
        request.url = request.url.copy_with(host=url.host, port=url.port)
        request.extensions["timeout"] = {
            "connect": min(CONNECT_S, remaining_s),
            **dict.fromkeys(("read", "write", "pool"), min(READ_S, remaining_s)),
        }
        outcome = "cancelled"
        try:
            response = await self._inner.handle_async_request(request)
            await response.aread()
            outcome = str(response.status_code)
        except httpx.TransportError as error:
            self._avoided_until[url] = time.monotonic() + AVOIDED_S
            outcome = type(error).__name__
            raise
        finally:
            note.attempts.append(f"{url.host} {outcome} {time.monotonic() - sent_s:.1f} s")
        return response

    def _next_url(self) -> httpx.URL:
        now = time.monotonic()
        usable = [url for url in self._urls if self._avoided_until[url] <= now] or self._urls
        self._turn += 1
        return usable[self._turn % len(usable)]

    def _refused(self, response: httpx.Response, note: Request, attempt: int) -> float:
        """Note a refusal, and return the pause before the request is repeated."""
        note.reason = response.text[:300]
        stated = response.headers.get("retry-after")
        if response.status_code == httpx.codes.SERVICE_UNAVAILABLE:
            note.unavailable.append(time.monotonic())
            note.without_retry_after += stated is None
        return _pause_s(attempt) if stated is None else float(stated)


def _pause_s(attempt: int) -> float:
    first_s, longest_s = PAUSE_S
    return min(longest_s, first_s * 2.0**attempt) * random.uniform(0.5, 1)
