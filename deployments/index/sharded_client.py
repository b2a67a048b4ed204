"""The index over handles: its shards as one, and one answer out of several.

Every point is in one shard. A write goes to those that it concerns, a search to all; what a shard
that is gone would have answered is missing from a search, and said so. Knows nothing of how
vectors are kept or found.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from deployments.index.client import RemoteShard
from deployments.index.collection_cache import CollectionCache
from deployments.index.gathering import (
    ShardedHits,
    gather_all,
    merge_hits,
    split_answers,
    sum_deletions,
)
from deployments.index.shard_repair import all_collections, delete_everywhere, look_up
from deployments.rpc.handle_client import Handle
from embedder.core.errors import NotFound, UnknownCollection
from embedder.index import sharding
from embedder.index.contract.checks import check_ids, check_points, check_query
from embedder.index.contract.filters import Filter
from embedder.index.contract.points import (
    CollectionInfo,
    Deleted,
    Metric,
    Page,
    PointField,
    Points,
    Query,
    Record,
    Spec,
    StoredModel,
)


class RemoteIndex:
    """All shards of the index; ``handles`` are by the names of their deployments, in order.

    ``max_bytes`` is what one answer may take as JSON; the queries of a search have equal shares.
    """

    def __init__(self, handles: Mapping[str, Handle], max_bytes: int | None = None) -> None:
        self._max_bytes = max_bytes
        self.collection_cache = CollectionCache(self._look_up)
        self.shards = tuple(RemoteShard(name, handle) for name, handle in handles.items())

    async def create(self, name: str, spec: Spec, deadline: float | None) -> CollectionInfo:
        """Create a collection, or confirm one that is there; the first shard says which it is."""
        if len(self.shards) > 1:
            await self._look_up(name, deadline)
        spec = replace(spec, identity=spec.identity or uuid.uuid4().hex)
        first: CollectionInfo = await self.shards[0].call(deadline, "create", name, spec)
        spec = replace(spec, identity=first.identity)
        others = [one.call(deadline, "create", name, spec) for one in self.shards[1:]]
        return sharding.merge_infos([first, *await gather_all(others)])

    async def record_model(
        self, info: CollectionInfo, model: StoredModel, deadline: float | None
    ) -> None:
        """Record the model that computes the vectors of a collection, in all shards.

        Raises:
            StaleCollection: the collection was made again, or another model was recorded.
        """
        # One after the other: of two models at once, the first shard takes one for all.
        for shard in self.shards:
            await shard.call(deadline, "record_model", info.name, info.identity, model)

    async def collections(self, deadline: float | None) -> list[CollectionInfo]:
        """Return what is known of every collection, by name."""
        return await all_collections(self.shards, deadline)

    async def describe(self, name: str, deadline: float | None) -> CollectionInfo:
        """Return what is known of a collection, in all shards or not at all."""
        await self._repair(name, deadline)
        return sharding.merge_infos(await self._all(deadline, "describe", name))

    async def delete(self, name: str, deadline: float | None) -> None:
        """Delete a collection; a shard that does not answer does so at its return."""
        self.collection_cache.forget(name)
        await delete_everywhere(self.shards, name, deadline)

    async def upsert(self, name: str, points: Points, deadline: float | None) -> int:
        """Set points of a collection, all or none unless a shard is lost just then.

        Their metadata has passed `check_metadata`: pickle fails on values that are nested too
        deeply.
        Returns the largest sequence number of the shards concerned.
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
        deadline: float | None,
        info: CollectionInfo | None,
    ) -> int:
        """Set points of the collection that ``info`` describes, or of a new one, as `upsert`.

        ``model`` computed their vectors, None where the caller brought them.

        Raises:
            StaleCollection: the collection is another one, or records another model.
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
        # No shard sees all points, so none could refuse the request as a whole. In a thread: large
        # metadata takes a second.
        await asyncio.to_thread(check_points, points, width=spec.width, metric=spec.metric)
        parts = sharding.rows_by_shard(points.ids, len(self.shards))
        return max(
            await gather_all(
                self.shards[shard].upsert(deadline, name, sharding.select_rows(points, rows), spec)
                for shard, rows in parts.items()
            )
        )

    async def delete_points(self, name: str, ids: Sequence[str], deadline: float | None) -> Deleted:
        """Delete those of the points that are there."""
        # A shard sees some of the ids, and would name an id by its place among those.
        check_ids(ids, "ids[{}]")
        parts = sharding.rows_by_shard(ids, len(self.shards))
        return sum_deletions(
            await gather_all(
                self.shards[shard].call(deadline, "delete_points", name, [ids[row] for row in rows])
                for shard, rows in parts.items()
            )
        )

    async def delete_matching(
        self, name: str, condition: Filter, deadline: float | None
    ) -> Deleted:
        """Delete all points that meet a filter."""
        await self._repair(name, deadline)
        return sum_deletions(await self._all(deadline, "delete_matching", name, condition))

    async def fetch(
        self, name: str, ids: Sequence[str], include: Sequence[PointField], deadline: float | None
    ) -> list[Record]:
        """Return those of the points that are stored, in the order asked for, each once."""
        check_ids(ids, "ids[{}]")
        await self._repair(name, deadline)
        parts = sharding.rows_by_shard(ids, len(self.shards))
        told = await gather_all(
            self.shards[shard].fetch(
                deadline, name, [ids[row] for row in rows], include, self._max_bytes
            )
            for shard, rows in parts.items()
        )
        found: dict[str, Record] = {record.id: record for records in told for record in records}
        return [found[one] for one in dict.fromkeys(ids) if one in found]

    async def count(self, name: str, condition: Filter | None, deadline: float | None) -> int:
        """Return how many points there are, or how many meet a filter."""
        await self._repair(name, deadline)
        return sum(await self._all(deadline, "count", name, condition))

    async def scroll(
        self,
        name: str,
        cursor: str | None,
        limit: int,
        condition: Filter | None,
        include: Sequence[PointField],
        *,
        deadline: float | None,
    ) -> Page:
        """Return a page of points: shard by shard, and in each in the order of insertion.

        It ends before ``limit`` where it would be too large.
        """
        shard, inner = sharding.parse_cursor(cursor, len(self.shards))
        await self._repair(name, deadline)
        records: list[Record] = []
        left = self._max_bytes
        while shard < len(self.shards) and len(records) < limit and (left is None or left > 0):
            page = await self.shards[shard].scroll(
                deadline, name, (inner, limit - len(records), condition), include, left
            )
            records += page.records
            left = None if left is None else left - page.size
            inner = page.cursor
            if inner is not None:
                break
            shard += 1
        at_end = shard == len(self.shards)
        return Page(records, None if at_end else f"{shard}.{inner or ''}")

    async def search(
        self,
        queries: Sequence[Query],
        *,
        complete: bool,
        deadline: float | None,
        sent_at: list[float] | None = None,
    ) -> ShardedHits:
        """Answer several queries of one collection; ``sent_at`` is as for `RemoteShard.search`.

        With ``complete`` a shard that does not answer fails the search, else it is missing. One
        alone is never missing.
        """
        if self._max_bytes is not None:
            share = self._max_bytes // max(1, len(queries))
            queries = [replace(query, max_bytes=share) for query in queries]
        if len(self.shards) == 1:
            return ShardedHits(await self.shards[0].search(queries, deadline, sent_at), [])
        for query in queries:
            check_query(query)
        if queries[0].identity is not None:
            return await self._search(queries, complete, deadline, sent_at, None)
        search = partial(self._search, queries, complete, deadline, sent_at)
        name = queries[0].collection
        return await self.collection_cache.run(name, search, deadline=deadline, texts=False)

    def searched(self, name: str) -> CollectionInfo | None:
        """Return a shard's part of a collection as it was when last searched, None if never."""
        found = (shard.searched.get(name) for shard in self.shards)
        return next((info for info in found if info is not None), None)

    async def _search(
        self,
        queries: Sequence[Query],
        complete: bool,
        deadline: float | None,
        sent_at: list[float] | None,
        info: CollectionInfo | None,
    ) -> ShardedHits:
        """Ask all shards for the same creation of the collection."""
        if info is not None:
            queries = [replace(query, identity=info.identity) for query in queries]
        if queries[0].identity is None:
            raise UnknownCollection("collection", queries[0].collection)
        queries = await self._by_vector(queries, deadline)
        asked = [sharding.shard_query(query) for query in queries]
        told = await asyncio.gather(
            *(shard.search(asked, deadline, sent_at) for shard in self.shards),
            return_exceptions=True,
        )
        answers, missing = split_answers(self.shards, told, complete=complete)
        metric = await self._metric(queries, self.shards[answers[0][0]], deadline)
        hits = await merge_hits(queries, [one for _, one in answers], metric, deadline)
        return ShardedHits(hits, missing)

    async def _metric(
        self, queries: Sequence[Query], shard: RemoteShard, deadline: float | None
    ) -> Metric:
        """Return by what answers are to be unlike each other, where any query wants that."""
        if all(query.diversity is None for query in queries):
            return Metric.COSINE
        info: CollectionInfo = await shard.call(deadline, "describe", queries[0].collection)
        return info.metric

    async def _by_vector(self, queries: Sequence[Query], deadline: float | None) -> list[Query]:
        """Return the queries with the vectors of the points that some of them are by."""
        by_id = [query.id for query in queries if query.id is not None]
        if not by_id:
            return list(queries)
        name = queries[0].collection
        records = await self.fetch(name, by_id, ("vector",), deadline)
        vectors = {record.id: record.vector for record in records}
        for one in by_id:
            if one not in vectors:
                raise NotFound("id", one)
        return [
            query if query.id is None else replace(query, vector=vectors[query.id])
            for query in queries
        ]

    async def _look_up(self, name: str, deadline: float | None) -> CollectionInfo | None:
        """Return what is known of a collection now, None if there is none of this name."""
        return await look_up(self.shards, name, deadline)

    async def _repair(self, name: str, deadline: float | None) -> None:
        """Have several shards agree on the collection, before they answer for their own parts."""
        if len(self.shards) > 1 and await self._look_up(name, deadline) is None:
            raise UnknownCollection("collection", name)

    async def _all(self, deadline: float | None, method: str, *arguments: Any) -> list[Any]:
        return await gather_all(shard.call(deadline, method, *arguments) for shard in self.shards)
