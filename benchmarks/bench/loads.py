"""Two loads for a server over HTTP: clients that wait for answers, and arrivals at given times.

A closed loop has a fixed number of clients, each of which sends its next request when it has its
answer; only answers that come within the window count. An open loop sends each request when it is
due, also while others wait, and a latency counts from when the request was due. A body is bytes,
an answer a status, a time and a few headers.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import aiohttp

TIMEOUT_S = 120.0
REFUSED = 429
FAILED = 0
"""Stands for the status of a request that got no answer."""


@dataclass(frozen=True, slots=True)
class Route:
    """The address of requests; one without a body is sent as GET."""

    url: str
    path: str


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to one attempt; moments are those of `time.perf_counter`."""

    status: int
    due: float
    sent: float
    done: float
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Window:
    """The answers that count, and the seconds in which they came."""

    answers: list[Answer]
    seconds: float


async def closed_loop(
    route: Route, bodies: Iterable[bytes | None], *, clients: int, warm_s: float, seconds: float
) -> Window:
    """Let clients send until ``seconds`` after ``warm_s``, or until there are no more bodies.

    A client sends a refused request again after its ``Retry-After``; the latency of the answer
    counts from the first attempt.
    """
    began = time.perf_counter()
    end = began + warm_s + seconds
    answers: list[Answer] = []
    left = iter(bodies)
    async with _session(route) as session:
        used_up = await asyncio.gather(
            *(_client(session, route.path, left, end, answers) for _ in range(clients))
        )
    if any(used_up):
        end = min(end, max((answer.done for answer in answers), default=end))
    start = min(began + warm_s, end)
    return Window([answer for answer in answers if start < answer.done <= end], end - start)


async def open_loop(route: Route, bodies: Sequence[bytes | None], due: Sequence[float]) -> Window:
    """Send each body when it is due, in seconds from now, and wait for all answers in the end."""
    async with _session(route) as session:
        began = time.perf_counter()
        tasks = []
        for moment, body in zip(due, bodies, strict=True):
            # Without a pause where several are due: a pass of the loop may wait for the machine.
            if (wait_s := began + moment - time.perf_counter()) > 0:
                await asyncio.sleep(wait_s)
            tasks.append(asyncio.create_task(_ask(session, route.path, body, began + moment)))
        answers = list(await asyncio.gather(*tasks))
    return Window(answers, max((answer.done for answer in answers), default=began) - began)


_NOTHING = object()


def _session(route: Route) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        route.url,
        connector=aiohttp.TCPConnector(limit=0),
        timeout=aiohttp.ClientTimeout(total=TIMEOUT_S),
        headers={"content-type": "application/json"},
        auto_decompress=False,
    )


async def _client(
    session: aiohttp.ClientSession,
    path: str,
    bodies: Iterator[bytes | None],
    end: float,
    answers: list[Answer],
) -> bool:
    """Send until the end; return whether the bodies were used up before."""
    while time.perf_counter() < end:
        body = next(bodies, _NOTHING)
        if body is _NOTHING:
            return True
        assert body is None or isinstance(body, bytes)
        due, refused = time.perf_counter(), True
        while refused and time.perf_counter() < end:
            answer = await _ask(session, path, body, due)
            answers.append(answer)
            refused = answer.status == REFUSED
            if answer.status != 200:
                # A connection that breaks at once must not be opened in a tight loop either.
                wait_s = float(answer.headers.get("retry-after", 0.1))
                await asyncio.sleep(min(wait_s, max(0.0, end - answer.done)))
    return False


async def _ask(session: aiohttp.ClientSession, path: str, body: bytes | None, due: float) -> Answer:
    sent = time.perf_counter()
    try:
        async with session.request("GET" if body is None else "POST", path, data=body) as answer:
            await answer.read()
            return Answer(answer.status, due, sent, time.perf_counter(), answer.headers)
    except (aiohttp.ClientError, asyncio.TimeoutError):
        return Answer(FAILED, due, sent, time.perf_counter(), {})
