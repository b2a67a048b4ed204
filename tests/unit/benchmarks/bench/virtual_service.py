"""A server in virtual time, in place of a client's session: nothing goes over a network."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

PATH = "/v1/embeddings"
NOOP = "/healthz"
TIMES = {
    "server-timing": "tokenization;dur=1.5, queue;dur=0.5, inference;dur=2.0",
    "x-total-time": "5",
}


@dataclass(frozen=True)
class Response:
    """The part of a response that clients read."""

    status: int
    headers: dict[str, str]

    async def read(self) -> bytes:
        """Return an empty body."""
        return b"{}"


@dataclass
class VirtualService:
    """Refuses the first ``refuse`` requests for texts; answers each other after ``answer_s``."""

    answer_s: float = 0.0
    refuse: int = 0
    asked: list[tuple[float, list[str]]] = field(default_factory=list)
    noops: int = 0
    at_once: int = 0
    now: int = 0

    @property
    def texts(self) -> list[str]:
        """Return all texts that it was asked for."""
        return [text for _, texts in self.asked for text in texts]

    async def __aenter__(self) -> VirtualService:
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close nothing."""

    @asynccontextmanager
    async def request(
        self, method: str, path: str, *, data: bytes | None
    ) -> AsyncIterator[Response]:
        """Answer a request for texts, or one without a body."""
        if data is None:
            assert (method, path) == ("GET", NOOP)
            self.noops += 1
            await asyncio.sleep(self.answer_s)
            yield Response(200, {})
            return
        assert (method, path) == ("POST", PATH)
        self.asked.append((time.perf_counter(), json.loads(data)["input"]))
        if len(self.asked) <= self.refuse:
            await asyncio.sleep(0.0625)
            yield Response(429, {"retry-after": "0.25"})
            return
        self.now += 1
        self.at_once = max(self.at_once, self.now)
        await asyncio.sleep(self.answer_s)
        self.now -= 1
        yield Response(200, TIMES)
