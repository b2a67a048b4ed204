"""Clients of one service that send requests of every kind and compare each answer.

A vector is compared with the library's, a similarity with the product of two of these. Each
client writes points of its own, one request at a time, so it knows what they must be.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any

import httpx

from tests.cluster.index_load import Load
from tests.cluster.index_oracle import Oracle
from tests.drill.expected import Expected
from tests.drill.retrying import RetryingTransport
from tests.drill.swapped import NAME

CLIENTS = 6
PAUSE_S = 0.2
"""Mean pause of a client after an answer."""

INDEX_PAUSE_S = 0.2
RECENT = 20
REPEATED = 0.3
"""The share of requests for a text that was requested before and is still in the cache."""

LARGE_BYTES = 32_768
"""More than what HAProxy keeps of a request to send it again."""

POINTS = 30
"""Of each client."""

TEXTS, VECTORS = "drill-texts", "drill-vectors"
PATH = f"/v1/collections/{TEXTS}"


class MixedLoad:
    """The load of one row; ``problems`` has what was wrong, ``wrong`` how many vectors were."""

    def __init__(
        self,
        transport: RetryingTransport,
        expected: Expected,
        seed: int,
        headers: Mapping[str, str],
        *,
        has_swapped: bool,
    ) -> None:
        self.wrong = 0
        self.problems: list[str] = []
        self._expected = expected
        self._source = random.Random(seed)
        self._next = self._source.randrange(len(expected.texts))
        self._points = Oracle()
        self._client = httpx.AsyncClient(
            transport=transport, base_url="http://service", timeout=None, headers=headers
        )
        self._vectors = Load(self._client, VECTORS, pause_s=INDEX_PAUSE_S)
        self._kinds: list[tuple[Callable[[int], Awaitable[None]], int]] = [
            (self._openai, 8),
            (self._tei, 6),
            (self._swapped, 2 if has_swapped else 0),
            (self._long, 2),
            (self._large, 1),
            (self._similarity, 3),
            (self._upsert, 3),
            (self._search, 3),
        ]

    async def prepare(self) -> None:
        """Create the two collections of this row, and put points into them."""
        for name in (TEXTS, VECTORS):
            await self._client.delete(f"/v1/collections/{name}")
        await self._vectors.begin()
        for client in range(CLIENTS):
            await self._upsert(client)

    async def run(self, stop: asyncio.Event) -> None:
        """Send requests until ``stop``, then wait until all have an answer."""
        await asyncio.gather(
            *(self._run(client, stop) for client in range(CLIENTS)),
            self._guarded(self._vectors.write(0, stop)),
            self._guarded(self._vectors.search(stop)),
        )

    async def check(self) -> None:
        """Read every point that was written, and compare it with what was acknowledged."""
        wrong = self._vectors.oracle.wrong(await self._vectors.content())
        self.problems += self._vectors.problems
        names = self._points.names()
        body = {"ids": names, "include": ["metadata", "vector"]}
        points = (await self._post(f"{PATH}/points/fetch", body))["points"]
        rows = [point["metadata"]["row"] for point in points]
        found = dict(zip((point["id"] for point in points), rows, strict=True))
        wrong |= self._points.wrong(found)
        if wrong:
            self.problems.append(f"{len(wrong)} points are not as acknowledged: {wrong}")
        if rows:
            self._compare(rows, [point["vector"] for point in points])
        await self._client.aclose()

    async def _run(self, client: int, stop: asyncio.Event) -> None:
        kinds, weights = zip(*self._kinds, strict=True)
        while not stop.is_set():
            (kind,) = self._source.choices(kinds, weights)
            await self._guarded(kind(client))
            await asyncio.sleep(self._source.uniform(0, 2 * PAUSE_S))

    async def _guarded(self, work: Awaitable[None]) -> None:
        """Ignore the client's errors, because the transport records failed requests."""
        with suppress(httpx.HTTPStatusError, httpx.TransportError):
            await work

    def _rows(self, most: int) -> list[int]:
        """Return the rows of some texts: now and then recent ones, else the next ones."""
        count = self._source.randint(1, most)
        total = len(self._expected.short)
        if self._source.random() < REPEATED:
            return [(self._next - self._source.randint(1, RECENT)) % total for _ in range(count)]
        rows = [(self._next + at) % total for at in range(count)]
        self._next += count
        return rows

    async def _openai(self, client: int) -> None:
        await self._embed(self._rows(4))

    async def _long(self, client: int) -> None:
        await self._embed([self._source.choice(self._expected.long)])

    async def _large(self, client: int) -> None:
        await self._embed(self._rows(4), padding=LARGE_BYTES)

    async def _embed(self, rows: list[int], padding: int = 0) -> None:
        body = {"input": self._texts(rows)}
        answer = await self._post("/v1/embeddings", body, padding)
        self._compare(rows, [one["embedding"] for one in answer["data"]])

    async def _swapped(self, client: int) -> None:
        row, sent_s = self._source.choice(self._expected.of_swapped), time.monotonic()
        body = {"input": self._expected.texts[row], "model": NAME}
        (answer,) = (await self._post("/v1/embeddings", body))["data"]
        self._count(self._expected.swapped.is_wrong(row, answer["embedding"], sent_s), [row])

    async def _tei(self, client: int) -> None:
        rows = self._rows(4)
        self._compare(rows, await self._post("/embed", {"inputs": self._texts(rows)}))

    async def _similarity(self, client: int) -> None:
        rows = self._rows(3)
        answer = await self._post("/v1/similarity", {"a": self._texts(rows)})
        self._count(self._expected.wrong_scores(rows, answer["similarity"]), rows)

    async def _upsert(self, client: int) -> None:
        rows = self._rows(3)
        numbers = self._source.sample(range(POINTS), len(rows))
        points = [
            {"id": f"{client} {number}", "text": text, "metadata": {"row": row}}
            for number, text, row in zip(numbers, self._texts(rows), rows, strict=True)
        ]
        answered = False
        try:
            await self._post(f"{PATH}/points", {"points": points})
            answered = True
        finally:
            for point, row in zip(points, rows, strict=True):
                self._points.wrote([str(point["id"])], row, answered=answered)

    async def _search(self, client: int) -> None:
        """Search for a text, and compare the vector of the point that is found."""
        (row,) = self._rows(1)
        body = {"text": self._expected.texts[row], "include": ["vector", "metadata"], "top_k": 1}
        for hit in (await self._post(f"{PATH}/search", body))["results"]:
            self._compare([hit["metadata"]["row"]], [hit["vector"]])

    def _texts(self, rows: list[int]) -> list[str]:
        return [self._expected.texts[row] for row in rows]

    def _compare(self, rows: list[int], vectors: list[list[float]]) -> None:
        self._count(self._expected.wrong(rows, vectors), rows)

    def _count(self, wrong: int, rows: list[int]) -> None:
        self.wrong += wrong
        if wrong:
            self.problems.append(f"{wrong} wrong numbers for the texts {rows}")

    async def _post(self, path: str, body: Any, padding: int = 0) -> Any:
        content = json.dumps(body) + " " * padding
        headers = {"content-type": "application/json"}
        answer = await self._client.post(path, content=content, headers=headers)
        return answer.raise_for_status().json()
