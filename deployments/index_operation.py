"""What an operator does with the collections of a running service, but for carrying them.

Sees the index and the ingress as handles. Knows nothing of command lines or files.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from itertools import islice
from typing import TypeVar

import numpy as np

from deployments.point_lines import PointLine, calling_lines
from deployments.remote import Remote
from deployments.remote_index import RemoteIndex
from deployments.running import RunningService
from embedder.errors import InvalidVector, Unavailable, UnknownCollection
from embedder.index.filters import Filter
from embedder.index.points import CollectionInfo, Hit, Points, Query, Spec
from embedder.request import EmbedOptions
from embedder.types import Priority, Vectors

T = TypeVar("T")

BATCH = 256
AHEAD = 3
"""Batches that are embedded or wait for it while one is stored, so that the encoders never idle."""

PATIENCE_S = 60.0
PAUSE_S = 1.0
"""How long what is unavailable is tried again, and how often: a shard is back within seconds."""

Progress = Callable[[int], object]
"""Told how many more points are stored."""


class IndexOperation:
    """The collections of a running service; used from one event loop."""

    def __init__(self, service: RunningService) -> None:
        self._index = RemoteIndex(service.shards("VectorIndex"))
        self._ingress = Remote("Ingress", service.ingress)

    async def collections(self) -> list[CollectionInfo]:
        """Return what is known of every collection, by name."""
        return await self._index.collections(None)

    async def describe(self, name: str) -> CollectionInfo:
        """Return what is known of a collection.

        Raises:
            UnknownCollection: there is none of this name.
        """
        return await self._index.describe(name, None)

    async def create(self, name: str, spec: Spec) -> CollectionInfo:
        """Create a collection, or confirm one that is there and was made with the same.

        Raises:
            InvalidInput: the name is not plain, or taken by a collection that is made otherwise.
            UnknownModel: its model is not served.
        """
        several = spec.width is None and len(self._index.shards) > 1
        if several or spec.model is not None:
            # Shows that the model is served; and no shard sees every vector, so that the first
            # one cannot decide the width for all.
            (vector,) = await self._embed(["width"], spec.model, Priority.INTERACTIVE)
            width = len(vector) if several else spec.width
            spec = Spec(spec.metric, spec.kind, width, spec.model)
        return await self._index.create(name, spec, None)

    async def delete(self, name: str) -> None:
        """Delete a collection with all its points.

        Raises:
            UnknownCollection: there is none of this name.
        """
        await self._index.delete(name, None)

    async def search(
        self, name: str, text: str, top_k: int, condition: Filter | None = None
    ) -> list[Hit]:
        """Find the points nearest to a text, in all shards or not at all.

        Raises:
            UnknownCollection: there is none of this name.
            Unavailable: a shard does not answer.
        """
        model = await self._index.model_of(name, None)
        (vector,) = await self._embed([text], model, Priority.INTERACTIVE)
        query = Query(name, vector, top_k, filter=condition)
        found = await self._index.search([query], complete=True, deadline=None)
        return found.hits[0]

    async def add(self, name: str, points: Iterable[PointLine], progress: Progress) -> int:
        """Set points in their order, texts embedded as bulk work; return how many that were.

        A collection that is not there is created with the cosine. The same again changes nothing.

        Raises:
            InvalidInput: a point cannot be stored; the error names its line, and what is not told
                to ``progress`` may or may not be stored.
            Unavailable: the service did not take them within `PATIENCE_S`.
        """
        model = None
        with suppress(UnknownCollection):
            model = await self._index.model_of(name, None)
        source = iter(points)
        ahead: deque[tuple[list[int], asyncio.Task[Points]]] = deque()
        count = 0
        try:
            while True:
                while len(ahead) <= AHEAD and (batch := list(islice(source, BATCH))):
                    task = asyncio.create_task(self._embedded(batch, model))
                    ahead.append(([point.number for point in batch], task))
                if not ahead:
                    return count
                numbers, embedding = ahead[0]
                ready = await embedding
                with calling_lines(numbers):
                    # In the order of the lines: of those with one id, the last one counts.
                    await _patiently(partial(self._index.upsert, name, ready, None))
                ahead.popleft()
                count += len(numbers)
                progress(len(numbers))
        finally:
            tasks = [task for _, task in ahead]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _embedded(self, batch: Sequence[PointLine], model: str | None) -> Points:
        """Return a batch with a vector for every point.

        Raises:
            InvalidInput: a text cannot be embedded, or a vector has another width than the rest.
        """
        rows = [point.vector for point in batch]
        texts = {at: str(one.text) for at, one in enumerate(batch) if one.vector is None}
        if texts:
            embed = partial(self._embed, list(texts.values()), model, Priority.BULK)
            with calling_lines([batch[at].number for at in texts]):
                found = await _patiently(embed)
            for at, vector in zip(texts, found, strict=True):
                rows[at] = vector
        vectors = [row for row in rows if row is not None]
        for point, vector in zip(batch, vectors, strict=True):
            if len(vector) != len(vectors[0]):
                problem = f"has {len(vector)} components; line {batch[0].number} has"
                raise InvalidVector(f"line {point.number}.vector", f"{problem} {len(vectors[0])}")
        return Points(
            ids=[point.id for point in batch],
            vectors=np.stack(vectors),
            texts=[point.text for point in batch],
            metadata=[point.metadata for point in batch],
        )

    async def _embed(self, texts: list[str], model: str | None, priority: Priority) -> Vectors:
        options = EmbedOptions(priority=priority)
        vectors: Vectors = await self._ingress.call("embed", texts, options, model)
        return vectors


async def _patiently(call: Callable[[], Awaitable[T]]) -> T:
    """Call again for a while where that may help."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            return await call()
        except Unavailable:
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(PAUSE_S)
