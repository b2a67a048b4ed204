"""The index as its callers see it: all shards as one index.

Each point is in one shard, and a write goes to the shards of its points.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

from deployments.index.client import RemoteShard
from deployments.index.gathering import gather_all, sum_deletions
from deployments.index.shard_repair import create_everywhere, delete_everywhere
from deployments.index.sharded_reads import ShardedReads
from deployments.rpc.handle_client import Handle
from embedder.core.deadline import Deadline
from embedder.index import sharding
from embedder.index.contract.checks import check_ids, check_points
from embedder.index.contract.filters import Filter
from embedder.index.contract.points import (
    CollectionInfo,
    Consistency,
    Deleted,
    Points,
    Spec,
    StoredModel,
)
from embedder.index.vector_index import VectorIndex
from embedder.measurements.histogram import Histogram


class RemoteIndex(ShardedReads):
    """The methods of `VectorIndex` over all shards; ``handles`` are by deployment name, in order.

    Its own reads are the latest ones. ``calls`` and ``seconds`` are as for `RemoteShard`.
    """

    def __init__(
        self,
        handles: Mapping[str, Handle],
        max_bytes: int | None = None,
        calls: int = 2,
        seconds: Histogram | None = None,
    ) -> None:
        shards = [RemoteShard(name, handle, calls, seconds) for name, handle in handles.items()]
        super().__init__(shards, max_bytes, "latest")
        self._stale = ShardedReads(shards, max_bytes, "stale")

    def reading(self, consistency: Consistency) -> ShardedReads:
        """Return the reads with a consistency."""
        return self if consistency == "latest" else self._stale

    async def create(self, name: str, spec: Spec, deadline: Deadline) -> CollectionInfo:
        """Create a collection, or confirm that it exists; the first shard decides."""
        return await create_everywhere(self.shards, name, spec, deadline)

    async def record_model(
        self, info: CollectionInfo, model: StoredModel, deadline: Deadline
    ) -> None:
        """Record in all shards the model that computes the vectors of a collection.

        Raises:
            StaleCollection: the collection was created again, or another model was recorded.
        """
        # In sequence: if two models are recorded at once, the first shard accepts only one.
        for shard in self.shards:
            await shard.call(deadline, VectorIndex.record_model, info.name, info.identity, model)

    async def delete(self, name: str, deadline: Deadline) -> None:
        """Delete a collection; a shard that is down deletes it after its return."""
        self.collection_cache.forget(name)
        await delete_everywhere(self.shards, name, deadline)

    async def upsert(self, name: str, points: Points, deadline: Deadline) -> int:
        """Store points of a collection: all or none, unless a shard is lost during the call.

        The metadata must have passed `check_metadata`, because pickle fails on values that are
        nested too deeply. Returns the largest sequence number of the shards concerned.
        """
        if len(self.shards) == 1:
            return await self.shards[0].call(deadline, VectorIndex.upsert, name, points)
        put = partial(self.put, name, points, None, deadline)
        return await self.collection_cache.run(name, put, deadline=deadline, texts=False)

    async def put(
        self,
        name: str,
        points: Points,
        model: StoredModel | None,
        deadline: Deadline,
        info: CollectionInfo | None,
    ) -> int:
        """Store points, as `upsert`, in the collection that ``info`` describes, or in a new one.

        ``model`` computed their vectors; None if the caller supplied the vectors.

        Raises:
            StaleCollection: the collection was created again, or has recorded another model.
        """
        new = Spec(width=points.vectors.shape[1], identity=uuid.uuid4().hex)
        spec = new if info is None else sharding.spec_of(info)
        if len(self.shards) == 1:
            spec = replace(spec, stored=model)
            return await self.shards[0].call(deadline, VectorIndex.upsert, name, points, spec)
        if info is None:
            spec = sharding.spec_of(await self.create(name, spec, deadline))
        if model is not None and spec.stored is None:
            info = info or await self.describe(name, deadline)
            await self.record_model(info, model, deadline)
        spec = replace(spec, stored=model or spec.stored)
        # Each shard sees only some points, so it cannot refuse the request as a whole. In a thread,
        # because large metadata takes 1 s.
        await asyncio.to_thread(check_points, points, width=spec.width, metric=spec.metric)
        return await self._put(name, points, spec, deadline)

    async def _put(self, name: str, points: Points, spec: Spec, deadline: Deadline) -> int:
        """Store points that several shards will not refuse."""
        rows_by_shard = sharding.rows_by_shard(points.ids, len(self.shards))
        calls = (
            self.shards[shard].call(
                deadline, VectorIndex.upsert, name, sharding.select_rows(points, rows), spec
            )
            for shard, rows in rows_by_shard.items()
        )
        sequence = max(await gather_all(calls))
        if not points.documents:
            return sequence
        # The other shards may have earlier chunks. After the new ones are stored: if a shard is
        # lost in between, the document is there twice, and not in part.
        others = [one for at, one in enumerate(self.shards) if at not in rows_by_shard]
        deleted = await self._delete_documents(others, name, points.documents, deadline)
        return max([sequence, *(one.sequence for one in deleted)])

    async def delete_points(self, name: str, ids: Sequence[str], deadline: Deadline) -> Deleted:
        """Delete those of the points that exist."""
        owned, method = self._ids_by_shard(ids), VectorIndex.delete_points
        calls = (shard.call(deadline, method, name, own) for shard, own in owned)
        return sum_deletions(await gather_all(calls))

    async def delete_documents(
        self, name: str, documents: Sequence[str], deadline: Deadline
    ) -> Deleted:
        """Delete the chunks of documents, and points with the ids of these."""
        check_ids(documents, "documents[{}]")
        await self._repair(name, deadline)
        return sum_deletions(await self._delete_documents(self.shards, name, documents, deadline))

    async def _delete_documents(
        self,
        shards: Sequence[RemoteShard],
        name: str,
        documents: Sequence[str],
        deadline: Deadline,
    ) -> list[Deleted]:
        method, given = VectorIndex.delete_documents, list(documents)
        return await gather_all(shard.call(deadline, method, name, given) for shard in shards)

    async def delete_matching(self, name: str, condition: Filter, deadline: Deadline) -> Deleted:
        """Delete all points that match a filter."""
        await self._repair(name, deadline)
        method = VectorIndex.delete_matching
        calls = (shard.call(deadline, method, name, condition) for shard in self.shards)
        return sum_deletions(await gather_all(calls))
