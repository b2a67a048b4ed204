"""Writers and readers of one collection over HTTP that check every answer.

Each writer has points of its own and does one thing after the other, so it knows what they are. A
request is answered, or refused with 503; anything else is an error of the test.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import httpx
import numpy as np

from tests.cluster.index_oracle import WIDTH, Oracle, State, vector_of

BATCH = 8
POINTS = 200
"""Of each writer: few, so that most are set and deleted again and again."""

ANCHORS = [f"anchor {number}" for number in range(150)]
"""Points that never change: every search finds all of them, or is refused."""

PAUSE_S = 0.01

FLOAT32 = 1e-5
"""Relative error of a squared distance in float32: closer ones may stand in either order."""


class Load:
    """The writes, the reads, and the problems found."""

    def __init__(self, client: httpx.AsyncClient, name: str, *, pause_s: float = PAUSE_S) -> None:
        self.oracle = Oracle()
        self.problems: list[str] = []
        self.answered = self.unanswered = self.searches = 0
        self.worst_gap_s = 0.0
        self._client = client
        self._pause_s = pause_s
        self._path = f"/v1/collections/{name}"

    async def begin(self) -> None:
        """Create the collection with its anchors."""
        made = await self._client.put(self._path, json={"metric": "l2", "width": WIDTH})
        made.raise_for_status()
        assert await self._set(ANCHORS, 0, kind="anchor")

    async def write(self, writer: int, stop: asyncio.Event) -> None:
        """Set and delete points of one writer; after an answer, look whether it is so."""
        source = random.Random(writer)
        names = [f"writer {writer}, {number}" for number in range(POINTS)]
        version = 0
        while not stop.is_set():
            version += 1
            chosen = source.sample(names, BATCH)
            state: State = None if source.random() < 0.4 else version
            done = await self._write(chosen, state)
            if not done and source.random() < 0.5:
                done = await self._write(chosen, state)
            if done:
                await self._look(source.choice(chosen), version, there=state is not None)
            await asyncio.sleep(self._pause_s)

    async def search(self, stop: asyncio.Event) -> None:
        """Search for all anchors, which must be found in their order."""
        matrix = np.stack([vector_of(name, 0) for name in ANCHORS]).astype(np.float64)
        source = np.random.default_rng(0)
        last = time.monotonic()
        while not stop.is_set():
            vector = source.standard_normal(WIDTH).astype(np.float32)
            found = await self._search(vector, len(ANCHORS) + 1, filter={"kind": "anchor"})
            if found is not None:
                self.worst_gap_s = max(self.worst_gap_s, time.monotonic() - last)
                last = time.monotonic()
                distances = dict(
                    zip(ANCHORS, ((matrix - vector) ** 2).sum(axis=1).tolist(), strict=True)
                )
                if set(found) != set(ANCHORS):
                    self.problems.append(f"{len(found)} anchors of {len(ANCHORS)}")
                elif not _is_sorted([distances[name] for name in found]):
                    self.problems.append("the anchors are in a wrong order")
            await asyncio.sleep(self._pause_s)

    async def answers(self) -> bool:
        """Tell whether the shard answers."""
        return (await self._post("points/count", {})).status_code == httpx.codes.OK

    async def content(self) -> dict[str, int]:
        """Return the version of every point, read page by page and by its id.

        Each way has to tell the same, and so has the count.
        """
        paged: list[dict[str, Any]] = []
        cursor = None
        while True:
            body = {"cursor": cursor, "limit": 100, "include": ["metadata", "vector"]}
            page = (await self._post("points/scroll", body)).raise_for_status().json()
            paged += page["points"]
            if (cursor := page["cursor"]) is None:
                break
        found = self._versions(paged)
        names = self.oracle.names()
        fetched: list[dict[str, Any]] = []
        for at in range(0, len(names), 500):
            body = {"ids": names[at : at + 500], "include": ["metadata", "vector"]}
            answer = (await self._post("points/fetch", body)).raise_for_status()
            fetched += answer.json()["points"]
        count = (await self._post("points/count", {})).raise_for_status().json()["count"]
        if self._versions(fetched) != found or count != len(found):
            self.problems.append(
                f"{len(found)} points paged, {len(fetched)} by id, {count} counted"
            )
        return found

    def _versions(self, points: Sequence[dict[str, Any]]) -> dict[str, int]:
        found = {point["id"]: int(point["metadata"]["version"]) for point in points}
        if len(found) < len(points):
            self.problems.append(f"{len(points) - len(found)} points are there twice")
        for point in points:
            vector = np.asarray(point["vector"], np.float32)
            if not np.array_equal(vector, vector_of(point["id"], found[point["id"]])):
                self.problems.append(f"{point['id']} has a vector of another version")
        return found

    async def _look(self, name: str, version: int, *, there: bool) -> None:
        """Search for a point that was just stored or deleted."""
        found = await self._search(vector_of(name, version), 5)
        if found is not None and (name in found[:1] if there else name in found) is not there:
            self.problems.append(f"{name} is {'not ' if there else ''}found")

    async def _search(self, vector: Any, top_k: int, **fields: Any) -> list[str] | None:
        body = {"vector": vector.tolist(), "top_k": top_k, **fields}
        answer = await self._post("search", body)
        if answer.status_code == httpx.codes.SERVICE_UNAVAILABLE:
            return None
        told = answer.raise_for_status().json()
        ids = [hit["id"] for hit in told["results"]]
        if told["partial"] or len(set(ids)) < len(ids):
            self.problems.append("a part, or a point twice")
        self.searches += 1
        return ids

    async def _write(self, names: Sequence[str], state: State) -> bool:
        if state is not None:
            return await self._set(names, state)
        return await self._send("points/delete", {"ids": list(names)}, names, None)

    async def _set(self, names: Sequence[str], version: int, **metadata: Any) -> bool:
        points = [
            {
                "id": name,
                "vector": vector_of(name, version).tolist(),
                "metadata": {"version": version, **metadata},
            }
            for name in names
        ]
        return await self._send("points", {"points": points}, names, version)

    async def _send(self, path: str, body: Any, names: Sequence[str], state: State) -> bool:
        answer = await self._post(path, body)
        answered = answer.status_code != httpx.codes.SERVICE_UNAVAILABLE
        if answered:
            answer.raise_for_status()
        self.oracle.wrote(names, state, answered=answered)
        self.answered += answered
        self.unanswered += not answered
        return answered

    async def _post(self, path: str, body: Any) -> httpx.Response:
        return await self._client.post(f"{self._path}/{path}", json=body)


def _is_sorted(distances: Sequence[float]) -> bool:
    """Return whether no distance is below the one before it by more than float32 can tell."""
    return all(after >= before * (1 - FLOAT32) for before, after in pairwise(distances))
