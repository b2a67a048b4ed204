"""The index as its callers see it: all shards as one index.

Each point is in one shard. A write goes to the shards of its points, and a search to all shards. If
a shard is down, its hits are missing from a search, and the answer names the shard.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from deployments.index.gathering import gather_all, sum_deletions
from deployments.index.shard_repair import delete_everywhere
from deployments.index.sharded_reads import ShardedReads
from embedder.core.deadline import Deadline
from embedder.index import sharding
from embedder.index.contract.checks import check_points
from embedder.index.contract.filters import Filter
from embedder.index.contract.points import CollectionInfo, Deleted, Points, Spec, StoredModel


class RemoteIndex(ShardedReads):
    """All shards of the index: the reads of `ShardedReads`, and writes."""

    async def create(self, name: str, spec: Spec, deadline: Deadline) -> CollectionInfo:
        """Create a collection, or confirm that it exists; the first shard decides."""
        if len(self.shards) > 1:
            await self._look_up(name, deadline)
        spec = replace(spec, identity=spec.identity or uuid.uuid4().hex)
        first: CollectionInfo = await self.shards[0].call(deadline, "create", name, spec)
        spec = replace(spec, identity=first.identity)
        others = [shard.call(deadline, "create", name, spec) for shard in self.shards[1:]]
        return sharding.merge_infos([first, *await gather_all(others)])

    async def record_model(
        self, info: CollectionInfo, model: StoredModel, deadline: Deadline
    ) -> None:
        """Record in all shards the model that computes the vectors of a collection.

        Raises:
            StaleCollection: the collection was created again, or another model was recorded.
        """
        # In sequence: if two models are recorded at once, the first shard accepts only one.
        for shard in self.shards:
            await shard.call(deadline, "record_model", info.name, info.identity, model)

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
            return await self.shards[0].upsert(deadline, name, points)
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
        spec = Spec(width=points.vectors.shape[1], identity=uuid.uuid4().hex)
        if info is not None:
            spec = sharding.spec_of(info)
        if len(self.shards) == 1:
            return await self.shards[0].upsert(deadline, name, points, replace(spec, stored=model))
        if info is None:
            spec = sharding.spec_of(await self.create(name, spec, deadline))
        if model is not None and spec.stored is None:
            info = info or await self.describe(name, deadline)
            await self.record_model(info, model, deadline)
        spec = replace(spec, stored=model or spec.stored)
        # Each shard sees only some points, so it cannot refuse the request as a whole. In a thread,
        # because large metadata takes 1 s.
        await asyncio.to_thread(check_points, points, width=spec.width, metric=spec.metric)
        rows_by_shard = sharding.rows_by_shard(points.ids, len(self.shards))
        return max(
            await gather_all(
                self.shards[shard].upsert(deadline, name, sharding.select_rows(points, rows), spec)
                for shard, rows in rows_by_shard.items()
            )
        )

    async def delete_points(self, name: str, ids: Sequence[str], deadline: Deadline) -> Deleted:
        """Delete those of the points that exist."""
        return sum_deletions(
            await gather_all(
                shard.call(deadline, "delete_points", name, shard_ids)
                for shard, shard_ids in self._ids_by_shard(ids)
            )
        )

    async def delete_matching(self, name: str, condition: Filter, deadline: Deadline) -> Deleted:
        """Delete all points that match a filter."""
        await self._repair(name, deadline)
        return sum_deletions(await self._call_all(deadline, "delete_matching", name, condition))
