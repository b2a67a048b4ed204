"""Clients that send one request after another, and know what their own points must be."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import Counter
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

import aiohttp
from yarl import URL

from tests.fuzz import values
from tests.fuzz.requests import COLLECTION, Request, choose, request

POINTS = 120
"""Ids of each client: few, so that most are set and deleted again and again."""

OWN = 0.3
"""The share of requests that write or read a client's own points."""

LIMIT_S = 60.0
LATE_S = 10.0
"""Seconds beyond its deadline after which an answer is late; for a busy machine."""

PULSE_S = 0.05

Stored = dict[str, Any] | None


@dataclass
class Findings:
    """What all clients saw."""

    statuses: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)
    slowest_s: float = 0.0
    stood_still_s: float = 0.0
    """How long the clients' own event loop stood still: no answer was read meanwhile."""

    async def watch_loop(self, end_s: float) -> None:
        """Count standstills until a time on ``time.monotonic``."""
        while (began := time.monotonic()) < end_s:
            await asyncio.sleep(PULSE_S)
            self.stood_still_s += time.monotonic() - began - PULSE_S


class Client:
    """One client; a rude one hangs up in the middle of some requests."""

    session: aiohttp.ClientSession
    url: str
    """The connections and the address of the service; both are set before every use."""

    def __init__(self, name: str, seed: int, findings: Findings, *, rude: bool) -> None:
        self.stored: dict[str, Stored] = {}
        """The points that are certain: what the last answered write left of each."""
        self._source = random.Random(f"{seed} {name}")
        self._ids = [values.point_id(self._source, name) for _ in range(POINTS)]
        self._findings = findings
        self._rude = rude

    async def run(self, end_s: float) -> None:
        """Send requests until a time on ``time.monotonic``."""
        while time.monotonic() < end_s:
            if not self._rude and self._source.random() < OWN:
                await self._own()
            else:
                await self._send(choose(self._source))

    async def check(self) -> None:
        """Look for every point whose state is certain; note those that are otherwise."""
        for name in list(self.stored):
            await self._look(name, certain=True)

    async def _own(self) -> None:
        name = self._source.choice(self._ids)
        path = f"/v1/collections/{COLLECTION}/points"
        kind = self._source.random()
        if kind < 0.5:
            point: dict[str, Any] = {"id": name, "metadata": values.metadata(self._source)}
            if self._source.random() < 0.3:
                point["text"] = values.text(self._source, 300) or "a"
            else:
                point["vector"] = values.vector(self._source)
            sent = request("POST", path, {"points": [point]})
            await self._write(sent, name, point)
        elif kind < 0.7:
            sent = request("POST", f"{path}/delete", {"ids": [name]})
            await self._write(sent, name, None)
        else:
            await self._look(name)

    async def _write(self, sent: Request, name: str, point: Stored) -> None:
        was_certain, before = name in self.stored, self.stored.pop(name, None)
        status, _ = await self._send(sent)
        if status == 200:
            self.stored[name] = point
        elif status in (400, 404, 413, 429) and was_certain:
            self.stored[name] = before
        if status in (400, 404) and point is not None:
            self._findings.problems.append(f"a good point was refused with {status}: {point}")

    async def _look(self, name: str, *, certain: bool = False) -> None:
        if name not in self.stored:
            return
        body = {"ids": [name], "include": ["text", "metadata"]}
        while True:
            sent = request("POST", f"/v1/collections/{COLLECTION}/points/fetch", body)
            status, content = await self._send(sent)
            if status == 200 or not certain:
                break
            await asyncio.sleep(0.2)
        if status != 200:
            return
        found, expected = json.loads(content)["points"], self.stored[name]
        if expected is None:
            right = found == []
        else:
            right = (
                len(found) == 1
                and found[0]["id"] == name
                and found[0].get("text") == expected.get("text")
                and (found[0].get("metadata") or {}) == (expected["metadata"] or {})
            )
        if not right:
            self._findings.problems.append(f"{name!r} is {found}, not {expected}")

    async def _send(self, sent: Request) -> tuple[int, bytes]:
        """Return status and content of an answer; 0 where there was none."""
        findings, began = self._findings, time.monotonic()
        stood_still_s = findings.stood_still_s
        call = asyncio.ensure_future(self._exchange(sent))
        if self._rude:
            await asyncio.wait({call}, timeout=self._source.choice([0.0, 0.01, 0.1, 60.0]))
            if not call.done():
                call.cancel()
                findings.statuses["hung up"] += 1
                return 0, b""
        try:
            status, content = await call
        except (aiohttp.ClientError, asyncio.TimeoutError) as error:
            findings.problems.append(f"no answer: {_short(sent)}: {error!r}")
            return 0, b""
        seconds = time.monotonic() - began - (findings.stood_still_s - stood_still_s)
        findings.slowest_s = max(findings.slowest_s, seconds)
        findings.statuses[f"{status} {_code(status, content)}".strip()] += 1
        if status >= 500:
            findings.problems.append(f"{status}: {_short(sent)}: {content[:300]!r}")
        if seconds > _limit_s(sent) + LATE_S:
            findings.problems.append(f"{seconds:.1f} s: {_short(sent)}")
        if status == 429:
            await asyncio.sleep(self._source.uniform(0, 1))
        return status, content

    async def _exchange(self, sent: Request) -> tuple[int, bytes]:
        # Joined as text: a path that begins with two slashes would name another host.
        target = URL(self.url + sent.path, encoded=True)
        # A file: aiohttp warns of large bytes, because sending them takes its event loop.
        body = None if sent.body is None else BytesIO(sent.body)
        async with self.session.request(
            sent.method, target, data=body, headers=sent.headers
        ) as answer:
            return answer.status, await answer.read()


def _limit_s(sent: Request) -> float:
    try:
        seconds = float(sent.headers.get("x-request-timeout", LIMIT_S))
    except ValueError:
        return LIMIT_S
    return min(seconds, LIMIT_S) if seconds > 0 else LIMIT_S


def _code(status: int, content: bytes) -> str:
    if status < 400:
        return ""
    try:
        error = json.loads(content)
        return str(error.get("error_type") or error["error"]["code"])
    except (ValueError, KeyError, TypeError, AttributeError):
        return ""


def _short(sent: Request) -> str:
    return f"{sent.method} {sent.path[:200]} {sent.headers} {(sent.body or b'')[:300]!r}"
