"""Requests to a service over HTTP: by clients that wait for their answers, or at given times."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import aiohttp

FAILED = 0
"""The status of a request without an answer."""

TIMEOUT_S = 120.0
TOKENS = re.compile(rb'"prompt_tokens":\s*(\d+)')


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """The path and the body of a POST request."""

    path: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """One attempt, in seconds since the load began; ``returned``: it was refused before."""

    due_s: float
    sent_s: float
    ended_s: float
    status: int
    tokens: int = 0
    retry_after_s: float | None = None
    returned: bool = False

    @property
    def seconds(self) -> float:
        """Return the latency, from when the request was due."""
        return self.ended_s - self.due_s


def session(url: str) -> aiohttp.ClientSession:
    """Return a session with as many connections as there are requests."""
    return aiohttp.ClientSession(
        url,
        connector=aiohttp.TCPConnector(limit=0),
        timeout=aiohttp.ClientTimeout(total=TIMEOUT_S),
        headers={"content-type": "application/json"},
    )


async def closed_loop(
    session: aiohttp.ClientSession, requests: Iterator[HttpRequest], clients: int, seconds: float
) -> list[Answer]:
    """Let clients send requests, each after its last answer and the ``Retry-After`` of that."""
    began = time.perf_counter()
    answers: list[Answer] = []

    async def client() -> None:
        while (due_s := time.perf_counter() - began) < seconds:
            answer = await _attempt(session, next(requests), began, due_s)
            answers.append(answer)
            await asyncio.sleep(answer.retry_after_s or 0.0)

    await asyncio.gather(*(client() for _ in range(clients)))
    return answers


async def open_loop(
    session: aiohttp.ClientSession, requests: Sequence[HttpRequest], due: Sequence[float]
) -> list[Answer]:
    """Send each request when it is due, and a refused one once more after its ``Retry-After``."""
    began = time.perf_counter()
    tasks = []
    for due_s, request in zip(due, requests, strict=True):
        # Without a pause where several are due, because each iteration may wait for a busy machine.
        if (wait_s := began + due_s - time.perf_counter()) > 0:
            await asyncio.sleep(wait_s)
        tasks.append(asyncio.create_task(_send(session, request, began, due_s)))
    return [answer for answers in await asyncio.gather(*tasks) for answer in answers]


async def _send(
    session: aiohttp.ClientSession, request: HttpRequest, began: float, due_s: float
) -> list[Answer]:
    answer = await _attempt(session, request, began, due_s)
    if answer.retry_after_s is None:
        return [answer]
    await asyncio.sleep(answer.retry_after_s)
    again = await _attempt(session, request, began, time.perf_counter() - began)
    return [answer, replace(again, returned=True)]


async def _attempt(
    session: aiohttp.ClientSession, request: HttpRequest, began: float, due_s: float
) -> Answer:
    sent_s = time.perf_counter() - began
    status, tokens, retry_after_s = FAILED, 0, None
    try:
        async with session.post(request.path, data=request.body) as response:
            body = await response.read()
            status = response.status
            if status == 429 and (wait := response.headers.get("retry-after")):
                retry_after_s = float(wait)
            if found := TOKENS.search(body):
                tokens = int(found[1])
    except (aiohttp.ClientError, asyncio.TimeoutError):
        pass
    ended_s = time.perf_counter() - began
    return Answer(due_s, sent_s, ended_s, status, tokens, retry_after_s)
