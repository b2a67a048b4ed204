"""Operations on the collections of a running service: create, fill, search, delete."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import Any, TypeVar

import numpy as np
import orjson

from deployments.index.sharded_client import RemoteIndex
from deployments.ingress.service.collection_model import TextVectors
from deployments.operations.backups import IndexBackups
from deployments.operations.point_lines import PointLine, naming_lines
from deployments.operations.running_service import RunningService
from deployments.rpc.handle_client import HandleClient
from embedder.core.deadline import NEVER, Deadline
from embedder.core.errors import InvalidVector, Unavailable
from embedder.core.request import EmbedOptions
from embedder.core.types import Priority
from embedder.index.contract.points import CollectionInfo, Points, Spec, StoredModel
from embedder.index.contract.sparse import SparseVector

T = TypeVar("T")

BATCH = 256
AHEAD = 3
"""Batches embedded ahead of the one that is stored, so that the encoders are always busy."""

RETRY_FOR_S = 60.0
PAUSE_S = 1.0
"""For how long calls to an unavailable stage are repeated, and the pause between them. A shard
restarts within seconds."""

Progress = Callable[[int], object]
"""Receives the number of points stored since the last call."""


class CollectionOperations:
    """The collections of a running service; used from one event loop."""

    def __init__(self, service: RunningService) -> None:
        self.index = RemoteIndex(service.shards("VectorIndex"))
        self.backups = IndexBackups(self.index.shards)
        self._ingress = HandleClient("Ingress", service.ingress)

    async def create(self, name: str, spec: Spec) -> CollectionInfo:
        """Create a collection, or confirm that it exists with this specification.

        Raises:
            InvalidInput: the name is invalid, or exists with another specification.
            UnknownModel: the model is not served.
        """
        several = spec.width is None and len(self.index.shards) > 1
        if several or spec.model is not None:
            # Checks that the model is served. With several shards it also yields the width, which
            # no shard could take from the first vector for all shards.
            embed = embed_for(self._ingress, None, ["width"], Priority.INTERACTIVE, spec.model)
            width = (await embed).vectors.shape[1]
            spec = replace(spec, width=width) if several else spec
        return await self.index.create(name, spec, NEVER)

    async def search(self, name: str, body: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Return the results of one query, from all shards; the body is that of the route.

        Raises:
            InvalidInput: a field of the body is invalid, or there is no such collection.
            EmbedderError: as `IngressReplica.search`.
        """
        answer = await self._ingress.call("search", name, {**body, "complete": True})
        found: list[dict[str, Any]] = orjson.loads(answer)["results"]
        return found

    async def add(self, name: str, points: Iterable[PointLine], progress: Progress) -> int:
        """Store points in their order, and embed their texts as bulk work; return their number.

        A collection that does not exist is created with the cosine metric. Repeating the call
        changes nothing.

        Raises:
            InvalidInput: a point cannot be stored; the error names its line. Points that were not
                reported to ``progress`` may or may not be stored.
            Unavailable: the service was unavailable for `RETRY_FOR_S`.
            ModelMismatch: the model that embedded the collection's texts is not served.
        """
        source = iter(points)
        ahead: deque[tuple[int, asyncio.Task[None]]] = deque()
        count = 0
        try:
            while True:
                while len(ahead) <= AHEAD and (batch := list(islice(source, BATCH))):
                    previous = ahead[-1][1] if ahead else None
                    task = asyncio.create_task(self._add_batch(name, batch, previous))
                    ahead.append((len(batch), task))
                if not ahead:
                    return count
                size, storing = ahead[0]
                await storing
                ahead.popleft()
                count += size
                progress(size)
        finally:
            tasks = [task for _, task in ahead]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _add_batch(
        self, name: str, batch: Sequence[PointLine], previous: asyncio.Task[None] | None
    ) -> None:
        """Embed a batch, and store it after the previous one."""

        async def embed_and_store(info: CollectionInfo | None) -> None:
            points, model = await self._embedded(info, batch)
            if previous is not None:
                # In the order of the lines, because the last of several points with one id counts.
                await previous
            with naming_lines([point.number for point in batch]):
                await retry_unavailable(self.index.put, name, points, model, NEVER, info)

        texts = any(point.vector is None for point in batch)
        add = partial(self.index.collection_cache.run, deadline=NEVER, texts=texts)
        await retry_unavailable(add, name, embed_and_store)

    async def _embedded(
        self, info: CollectionInfo | None, batch: Sequence[PointLine]
    ) -> tuple[Points, StoredModel | None]:
        """Return a batch with a vector for every point, and the model of its texts, if any.

        Raises:
            InvalidInput: a text cannot be embedded, or a vector has another width than the first.
        """
        rows = [point.vector for point in batch]
        texts = {at: str(one.text) for at, one in enumerate(batch) if one.vector is None}
        model, sparse = None, dict[int, SparseVector]()
        if texts:
            with naming_lines([batch[at].number for at in texts]):
                found = await embed_for(self._ingress, info, list(texts.values()), Priority.BULK)
            for at, vector in zip(texts, found.vectors, strict=True):
                rows[at] = vector
            model, sparse = found.model, dict(zip(texts, found.sparse, strict=False))
        vectors = [row for row in rows if row is not None]
        for point, vector in zip(batch, vectors, strict=True):
            if len(vector) != len(vectors[0]):
                problem = f"has {len(vector)} components; line {batch[0].number} has"
                field = "text" if point.vector is None else "vector"
                raise InvalidVector(f"line {point.number}.{field}", f"{problem} {len(vectors[0])}")
        points = Points(
            ids=[point.id for point in batch],
            vectors=np.stack(vectors),
            texts=[point.text for point in batch],
            metadata=[point.metadata for point in batch],
            sparse=[sparse.get(at) for at in range(len(batch))] if sparse else (),
        )
        return points, model


async def embed_for(
    ingress: HandleClient,
    info: CollectionInfo | None,
    texts: Sequence[str],
    priority: Priority,
    model: str | None = None,
) -> TextVectors:
    """Embed texts of a collection, or with the given model."""
    options = EmbedOptions(priority=priority)
    answer: TextVectors = await ingress.call("embed_for", info, list(texts), options, model)
    return answer


async def retry_unavailable(call: Callable[..., Awaitable[T]], *arguments: Any) -> T:
    """Return the result of a call; while it raises `Unavailable`, repeat it for `RETRY_FOR_S`."""
    deadline = Deadline.after(RETRY_FOR_S)
    while True:
        try:
            return await call(*arguments)
        except Unavailable:
            if deadline.expired:
                raise
            await asyncio.sleep(PAUSE_S)
