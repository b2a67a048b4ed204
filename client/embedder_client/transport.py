"""Sends one request until it is answered, or its deadline is reached.

Every route of the service is safe to repeat, so a request without an answer is sent again.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx

from embedder_client.concurrency import InFlight, RequestLimit
from embedder_client.errors import ConnectionFailed, InvalidAnswer, Unavailable, error_of
from embedder_client.retries import delay_s, is_repeated

NO_CONTENT = 204
"""The status of an answer without a body."""


@dataclass(frozen=True, slots=True)
class Request:
    """A request to the service; ``path`` is below the address of the client."""

    method: str
    path: str
    body: Mapping[str, Any] | None = None


@dataclass(slots=True)
class Transport:
    """Sends requests with ``http``, at most as many at the same time as ``limit`` allows.

    ``clock`` and ``sleep`` are those of time, and others in tests.
    """

    http: httpx.AsyncClient
    limit: RequestLimit
    timeout_s: float
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    _in_flight: InFlight = field(init=False)

    def __post_init__(self) -> None:
        self._in_flight = InFlight(self.limit)

    async def send(self, request: Request, timeout_s: float | None = None) -> Any:
        """Return the JSON of the answer, None if it has no body.

        ``timeout_s`` None is that of the client. A request waits for its turn, and does not hold a
        place while it waits to be repeated.

        Raises:
            ConnectionFailed: no answer came within ``timeout_s``.
            ServiceError: the last answer was an error, or one that is not repeated.
            InvalidAnswer: the answer is not JSON.
        """
        deadline = self.clock() + (self.timeout_s if timeout_s is None else timeout_s)
        content = None if request.body is None else _encoded(request.body)
        attempt = 0
        while True:
            async with self._in_flight:
                response, failure = await self._try(request, content, deadline)
            if failure is None and response is not None:
                return _json(response)
            headers: Mapping[str, str] = {} if response is None else response.headers
            wait = delay_s(attempt, headers, random.random())  # noqa: S311 - spreads repetitions
            repeated = response is None or is_repeated(response.status_code, headers)
            if not repeated or self.clock() + wait >= deadline:
                assert failure is not None
                raise failure
            await self.sleep(wait)
            attempt += 1

    async def _try(
        self, request: Request, content: bytes | None, deadline: float
    ) -> tuple[httpx.Response | None, Exception | None]:
        """Send a request once; return its response, and the error if it was not successful."""
        remaining = max(0.001, deadline - self.clock())
        sent_in = self.limit.round
        headers = {"x-request-timeout": f"{remaining:.3f}"}
        if content is not None:
            headers["content-type"] = "application/json"
        try:
            response = await self.http.request(
                request.method, request.path, content=content, headers=headers, timeout=remaining
            )
        except httpx.TransportError as error:
            name = type(error).__name__
            return None, ConnectionFailed(f"no answer from {self.http.base_url}: {name} {error}")
        if response.is_success:
            self.limit.answered(response.headers)
            return response, None
        failure = error_of(
            response.status_code, _json_or_none(response), response.text, response.headers
        )
        if isinstance(failure, Unavailable):
            self.limit.refused(sent_in)
        return response, failure


def _encoded(body: Mapping[str, Any]) -> bytes:
    return json.dumps(body, separators=(",", ":"), allow_nan=False).encode("ascii")


def _json(response: httpx.Response) -> Any:
    if response.status_code == NO_CONTENT:
        return None
    try:
        return response.json()
    except ValueError:
        kind = response.headers.get("content-type", "no type")
        raise InvalidAnswer(f"the answer of {response.url} is not JSON but {kind}") from None


def _json_or_none(response: httpx.Response) -> Any:
    try:
        return response.json()
    except ValueError:
        return None
