"""Replaces the vectors of a collection by another model's vectors of the stored texts.

A staged collection in every shard is filled while the service uses the collection. Then writes
stop, the staged collections are completed, and the shards switch to them, the first shard first.
The whole state is in the shards, so after an interruption the same call continues.
"""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from deployments.index.client import RemoteShard
from deployments.index.gathering import gather_all
from deployments.index.sharded_client import RemoteIndex
from deployments.ingress.service.collection_model import TextVectors
from deployments.ingress.wire.field_names import rename_input_errors
from deployments.operations.collections import BATCH, Progress, embed_for, retry_unavailable
from deployments.operations.running_service import RunningService
from deployments.rpc.handle_client import HandleClient
from embedder.core.deadline import NEVER
from embedder.core.errors import InvalidInput
from embedder.core.storage_errors import ModelMismatch
from embedder.core.types import Priority
from embedder.index.contract.kinds import IndexKind
from embedder.index.contract.points import CollectionInfo, Spec, StoredModel
from embedder.index.reembedding import StagedCollection
from embedder.index.storage.records import PAGE_POINTS, OutdatedPoint
from embedder.index.storage.staging import missing_texts
from embedder.index.vector_index import VectorIndex

PASSES = 5
"""The most passes over points that were changed in the meantime, before writes are stopped."""


class CollectionReembedding:
    """Replaces the vectors of collections; used from one event loop."""

    def __init__(self, service: RunningService) -> None:
        self._index = RemoteIndex(service.shards("VectorIndex"))
        self._shards = self._index.shards
        self._ingress = HandleClient("Ingress", service.ingress)

    async def reembed(
        self, name: str, model: str | None, progress: Progress, *, dropping: bool = False
    ) -> CollectionInfo:
        """Embed all texts of a collection with a served model; return the new description.

        ``model=None`` means the first served model. A collection that already records this model
        stays unchanged. With ``dropping``, points without a text are deleted.

        Raises:
            UnknownCollection: there is no collection with this name.
            UnknownModel: the model is not served.
            InvalidInput: points have no text, a text cannot be embedded, or an unfinished run uses
                another model.
            ModelMismatch: the model served under this name has changed since the start.
            StaleCollection: the collection was deleted or replaced in the meantime.
            Unavailable: the service was unavailable for `RETRY_FOR_S`.
        """
        info = await self._index.describe(name, NEVER)
        probe = await self._embed(["width"], model, Priority.INTERACTIVE)
        wanted = probe.model
        if info.stored is not None and info.stored.is_same(wanted):
            return info
        counts = await gather_all(
            shard.call(NEVER, VectorIndex.count_without_text, name) for shard in self._shards
        )
        if sum(counts) and not dropping:
            raise InvalidInput("collection", missing_texts(sum(counts)))
        staged = await self._begin(info, wanted, probe.vectors.shape[1])
        await self._replace(name, staged, partial(self._fill, name, staged, progress), dropping)
        return await self._index.describe(name, NEVER)

    async def abandon(self, name: str) -> None:
        """Delete the staged collections, and keep the collection unchanged.

        Raises:
            UnknownCollection: there is no collection with this name.
            InvalidInput: there is no staged collection, or it has already replaced the collection.
        """
        # Completes a switch that has reached the first shard.
        await self._index.describe(name, NEVER)
        first, *others = self._shards
        found = await first.call(NEVER, VectorIndex.staged, name)
        if found is not None:
            await first.call(NEVER, VectorIndex.discard_staged, name, found.identity)
        for shard in others:
            staged = await shard.call(NEVER, VectorIndex.staged, name)
            if staged is None:
                continue
            # Keep one that the first shard has not discarded: a switch to it is in progress.
            discarded = await first.call(NEVER, VectorIndex.deleted, [staged.identity])
            if discarded:
                await shard.call(NEVER, VectorIndex.discard_staged, name, staged.identity)
                found = staged
        if found is None:
            raise InvalidInput("collection", "is not being embedded again")

    async def _begin(
        self, info: CollectionInfo, wanted: StoredModel, width: int
    ) -> StagedCollection:
        """Create or find the same staged collection in all shards, and return it."""
        kind = IndexKind(info.kind)
        spec = Spec(info.metric, kind, width, stored=wanted, identity=uuid.uuid4().hex)
        begin, of = VectorIndex.begin_staged, (info.name, info.identity)
        first = await self._shards[0].call(NEVER, begin, *of, spec)
        if not first.stored.is_same(wanted):
            raise InvalidInput(
                "model",
                f"is {wanted}, but an unfinished run embeds this collection with {first.stored}: "
                "continue with that model, or delete its vectors with --abandon",
            )
        spec = replace(spec, identity=first.identity)
        for shard in self._shards[1:]:
            staged = await shard.call(NEVER, begin, *of, spec)
            if staged.identity != first.identity:
                # An older one, which the first shard discarded while this shard was down.
                await shard.call(NEVER, VectorIndex.discard_staged, info.name, staged.identity)
                await shard.call(NEVER, begin, *of, spec)
        return first

    async def _replace(
        self,
        name: str,
        staged: StagedCollection,
        fill: Callable[[RemoteShard], Awaitable[int]],
        dropping: bool,
    ) -> None:
        """Fill the staged collections, stop writes, complete them, and switch to them."""
        for shard in self._shards:
            for _ in range(PASSES):
                # Leaves at most a page for the time without writes.
                if await fill(shard) <= PAGE_POINTS:
                    break
        for shard in self._shards:
            await retry_unavailable(
                shard.call, NEVER, VectorIndex.freeze, name, staged.identity, dropping
            )
        for shard in self._shards:
            await fill(shard)
        # The first shard decides; the others follow it now or at the next look-up.
        for shard in self._shards:
            await retry_unavailable(shard.call, NEVER, VectorIndex.switch, name, staged.identity)

    async def _fill(
        self, name: str, staged: StagedCollection, progress: Progress, shard: RemoteShard
    ) -> int:
        """Embed the points that a staged collection lacks, in insertion order; return the count."""
        after = count = 0
        while True:
            points = await retry_unavailable(
                shard.call, NEVER, VectorIndex.outdated, name, staged.identity, after
            )
            if not points:
                return count
            starts = range(0, len(points), BATCH)
            parts = await gather_all(
                self._vectors(name, staged.stored, points[at : at + BATCH]) for at in starts
            )
            vectors = np.concatenate([part.vectors for part in parts])
            sparse = [one for part in parts for one in part.sparse]
            given = (name, staged.identity, points, vectors, sparse)
            await retry_unavailable(shard.call, NEVER, VectorIndex.fill_staged, *given)
            after = points[-1].pk
            count += len(points)
            progress(len(points))

    async def _vectors(
        self, name: str, wanted: StoredModel, points: Sequence[OutdatedPoint]
    ) -> TextVectors:
        texts = [one.text for one in points]
        with rename_input_errors("input", lambda at: f"text of point {points[at].id!r}"):
            found = await self._embed(texts, wanted.name, Priority.BULK)
        if not found.model.is_same(wanted):
            raise ModelMismatch(name, str(wanted), str(found.model))
        return found

    async def _embed(
        self, texts: Sequence[str], model: str | None, priority: Priority
    ) -> TextVectors:
        return await retry_unavailable(embed_for, self._ingress, None, texts, priority, model)
