"""The index as its callers see it: all shards as one index.

Each point is in one shard. A write goes to the shards of its points, and a search to all shards. If
a shard is down, its hits are missing from a search, and the answer names the shard.
"""

from __future__ import annotations

import asyncio
import uuid
from collections import ChainMap
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

from deployments.index.client import RemoteShard, ShardedHits
from deployments.index.collection_cache import CollectionCache
from deployments.index.gathering import gather_all, search_shards, sum_deletions, with_vectors
from deployments.index.shard_repair import (
    all_collections,
    create_everywhere,
    delete_everywhere,
    look_up,
)
from deployments.rpc.handle_client import Handle
from embedder.core.deadline import Deadline
from embedder.core.errors import UnknownCollection
from embedder.index import sharding
from embedder.index.contract.checks import check_ids, check_points, check_query
from embedder.index.contract.filters import Filter
from embedder.index.contract.points import (
    CollectionInfo,
    Deleted,
    Page,
    PointField,
    Points,
    Query,
    Record,
    Spec,
    StoredModel,
)
from embedder.index.vector_index import VectorIndex


class RemoteIndex:
    """The methods of `VectorIndex` over all shards; ``handles`` are by deployment name, in order.

    ``max_bytes`` limits one answer as JSON; the queries of a search get equal shares of it.
    """

    def __init__(
        self, handles: Mapping[str, Handle], max_bytes: int | None = None, calls: int = 2
    ) -> None:
        self._max_bytes = max_bytes
        self.shards = tuple(RemoteShard(name, handle, calls) for name, handle in handles.items())
        self._searched = ChainMap(*(shard.searched for shard in self.shards))
        self.collection_cache = CollectionCache(partial(look_up, self.shards))

    async def collections(self, deadline: Deadline) -> list[CollectionInfo]:
        """Return the descriptions of all collections, by name."""
        return await all_collections(self.shards, deadline)

    async def describe(self, name: str, deadline: Deadline) -> CollectionInfo:
        """Return the description of a collection, summed over all shards."""
        await self._repair(name, deadline)
        calls = (shard.call(deadline, VectorIndex.describe, name) for shard in self.shards)
        return sharding.merge_infos(await gather_all(calls))

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
        rows_by_shard = sharding.rows_by_shard(points.ids, len(self.shards))
        calls = (
            self.shards[shard].call(
                deadline, VectorIndex.upsert, name, sharding.select_rows(points, rows), spec
            )
            for shard, rows in rows_by_shard.items()
        )
        return max(await gather_all(calls))

    async def delete_points(self, name: str, ids: Sequence[str], deadline: Deadline) -> Deleted:
        """Delete those of the points that exist."""
        owned, method = self._ids_by_shard(ids), VectorIndex.delete_points
        calls = (shard.call(deadline, method, name, own) for shard, own in owned)
        return sum_deletions(await gather_all(calls))

    async def delete_matching(self, name: str, condition: Filter, deadline: Deadline) -> Deleted:
        """Delete all points that match a filter."""
        await self._repair(name, deadline)
        method = VectorIndex.delete_matching
        calls = (shard.call(deadline, method, name, condition) for shard in self.shards)
        return sum_deletions(await gather_all(calls))

    async def fetch(
        self, name: str, ids: Sequence[str], include: Sequence[PointField], deadline: Deadline
    ) -> list[Record]:
        """Return those of the points that exist, each once, in the order of ``ids``."""
        owned, method = self._ids_by_shard(ids), VectorIndex.fetch
        await self._repair(name, deadline)
        given = (include, self._max_bytes)
        calls = (shard.call(deadline, method, name, own, *given) for shard, own in owned)
        found = {record.id: record for records in await gather_all(calls) for record in records}
        return [found[id_] for id_ in dict.fromkeys(ids) if id_ in found]

    async def count(self, name: str, condition: Filter | None, deadline: Deadline) -> int:
        """Return the number of points, or of the points that match a filter."""
        await self._repair(name, deadline)
        calls = (shard.call(deadline, VectorIndex.count, name, condition) for shard in self.shards)
        return sum(await gather_all(calls))

    async def scroll(
        self,
        name: str,
        cursor: str | None,
        limit: int,
        condition: Filter | None,
        include: Sequence[PointField],
        *,
        deadline: Deadline,
    ) -> Page:
        """Return a page of points: shard by shard, in each shard in insertion order.

        A page holds fewer than ``limit`` points if more would exceed ``max_bytes``.
        """
        number, inner = sharding.parse_cursor(cursor, len(self.shards))
        await self._repair(name, deadline)
        records: list[Record] = []
        left = self._max_bytes
        for shard in self.shards[number:]:
            wanted = limit - len(records)
            if wanted <= 0 or (left is not None and left <= 0):
                break
            position = (inner, wanted, condition)
            page = await shard.call(deadline, VectorIndex.scroll, name, *position, include, left)
            records += page.records
            left = None if left is None else left - page.size
            inner = page.cursor
            if inner is not None:
                break
            number += 1
        at_end = number == len(self.shards)
        return Page(records, None if at_end else f"{number}.{inner or ''}")

    async def search(
        self, queries: Sequence[Query], *, complete: bool, deadline: Deadline
    ) -> ShardedHits:
        """Answer several queries of one collection.

        With ``complete``, a shard that does not answer fails the search; else its hits are missing.
        An index of one shard fails in both cases.
        """
        if self._max_bytes is not None:
            share = self._max_bytes // max(1, len(queries))
            queries = [replace(query, max_bytes=share) for query in queries]
        if len(self.shards) == 1:
            return await self.shards[0].search(queries, deadline)
        for query in queries:
            check_query(query)
        name = queries[0].collection

        async def search(info: CollectionInfo | None) -> ShardedHits:
            # The same creation of the collection in all shards.
            asked = queries
            if info is not None:
                asked = [replace(query, identity=info.identity) for query in queries]
            if asked[0].identity is None:
                raise UnknownCollection("collection", name)
            fetch = partial(self.fetch, name, include=("vector",), deadline=deadline)
            asked = await with_vectors(asked, fetch)
            return await search_shards(self.shards, asked, complete=complete, deadline=deadline)

        if queries[0].identity is not None:
            return await search(None)
        return await self.collection_cache.run(name, search, deadline=deadline, texts=False)

    def searched(self, name: str) -> CollectionInfo | None:
        """Return a shard's description of a collection at its last search, or None."""
        return self._searched.get(name)

    async def _repair(self, name: str, deadline: Deadline) -> None:
        """Make several shards agree on the collection, before each answers for its own points."""
        if len(self.shards) > 1 and await look_up(self.shards, name, deadline) is None:
            raise UnknownCollection("collection", name)

    def _ids_by_shard(self, ids: Sequence[str]) -> list[tuple[RemoteShard, list[str]]]:
        # Checked here: a shard would name an id by its index among the ids of that shard.
        check_ids(ids, "ids[{}]")
        rows_by_shard = sharding.rows_by_shard(ids, len(self.shards))
        return [
            (self.shards[shard], [ids[row] for row in rows])
            for shard, rows in rows_by_shard.items()
        ]
