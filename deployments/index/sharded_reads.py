"""Reads from a sharded index: descriptions, points by id, pages, counts and searches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from deployments.index.client import RemoteShard
from deployments.index.collection_cache import CollectionCache
from deployments.index.gathering import ShardedHits, gather_all
from deployments.index.shard_repair import all_collections, look_up
from deployments.index.sharded_search import search_shards, with_vectors
from deployments.rpc.handle_client import Handle
from embedder.core.deadline import Deadline
from embedder.core.errors import UnknownCollection
from embedder.index import sharding
from embedder.index.contract.checks import check_ids, check_query
from embedder.index.contract.filters import Filter
from embedder.index.contract.points import CollectionInfo, Page, PointField, Query, Record


class ShardedReads:
    """The reads of all shards; ``handles`` are by the names of their deployments, in order.

    ``max_bytes`` limits one answer as JSON; the queries of a search get equal shares of it.
    """

    def __init__(self, handles: Mapping[str, Handle], max_bytes: int | None = None) -> None:
        self._max_bytes = max_bytes
        self.collection_cache = CollectionCache(self._look_up)
        self.shards = tuple(RemoteShard(name, handle) for name, handle in handles.items())

    async def collections(self, deadline: Deadline) -> list[CollectionInfo]:
        """Return the descriptions of all collections, by name."""
        return await all_collections(self.shards, deadline)

    async def describe(self, name: str, deadline: Deadline) -> CollectionInfo:
        """Return the description of a collection, summed over all shards."""
        await self._repair(name, deadline)
        return sharding.merge_infos(await self._call_all(deadline, "describe", name))

    async def fetch(
        self, name: str, ids: Sequence[str], include: Sequence[PointField], deadline: Deadline
    ) -> list[Record]:
        """Return those of the points that exist, each once, in the order of ``ids``."""
        shards = self._ids_by_shard(ids)
        await self._repair(name, deadline)
        records_by_shard = await gather_all(
            shard.fetch(deadline, name, shard_ids, include, self._max_bytes)
            for shard, shard_ids in shards
        )
        found = {record.id: record for records in records_by_shard for record in records}
        return [found[id_] for id_ in dict.fromkeys(ids) if id_ in found]

    async def count(self, name: str, condition: Filter | None, deadline: Deadline) -> int:
        """Return the number of points, or of the points that match a filter."""
        await self._repair(name, deadline)
        return sum(await self._call_all(deadline, "count", name, condition))

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
        deadline: Deadline,
        sent_at: list[float] | None = None,
    ) -> ShardedHits:
        """Answer several queries of one collection; ``sent_at`` is as for `RemoteShard.search`.

        With ``complete``, a shard that does not answer fails the search; else its hits are missing.
        An index of one shard fails in both cases.
        """
        if self._max_bytes is not None:
            share = self._max_bytes // max(1, len(queries))
            queries = [replace(query, max_bytes=share) for query in queries]
        if len(self.shards) == 1:
            return ShardedHits(await self.shards[0].search(queries, deadline, sent_at), [])
        for query in queries:
            check_query(query)
        search = partial(self._search, queries, complete, deadline, sent_at)
        if queries[0].identity is not None:
            return await search(None)
        name = queries[0].collection
        return await self.collection_cache.run(name, search, deadline=deadline, texts=False)

    def searched(self, name: str) -> CollectionInfo | None:
        """Return a shard's description of a collection at its last search, or None."""
        found = (shard.searched.get(name) for shard in self.shards)
        return next((info for info in found if info is not None), None)

    async def _search(
        self,
        queries: Sequence[Query],
        complete: bool,
        deadline: Deadline,
        sent_at: list[float] | None,
        info: CollectionInfo | None,
    ) -> ShardedHits:
        """Search the same creation of the collection in all shards."""
        if info is not None:
            queries = [replace(query, identity=info.identity) for query in queries]
        name = queries[0].collection
        if queries[0].identity is None:
            raise UnknownCollection("collection", name)
        fetch = partial(self.fetch, name, include=("vector",), deadline=deadline)
        return await search_shards(
            self.shards,
            await with_vectors(queries, fetch),
            complete=complete,
            deadline=deadline,
            sent_at=sent_at,
        )

    async def _look_up(self, name: str, deadline: Deadline) -> CollectionInfo | None:
        return await look_up(self.shards, name, deadline)

    async def _repair(self, name: str, deadline: Deadline) -> None:
        """Make several shards agree on the collection, before each answers for its own points."""
        if len(self.shards) > 1 and await self._look_up(name, deadline) is None:
            raise UnknownCollection("collection", name)

    def _ids_by_shard(self, ids: Sequence[str]) -> list[tuple[RemoteShard, list[str]]]:
        # Checked here: a shard would name an id by its index among the ids of that shard.
        check_ids(ids, "ids[{}]")
        rows_by_shard = sharding.rows_by_shard(ids, len(self.shards))
        return [
            (self.shards[shard], [ids[row] for row in rows])
            for shard, rows in rows_by_shard.items()
        ]

    async def _call_all(self, deadline: Deadline, method: str, *arguments: Any) -> list[Any]:
        return await gather_all(shard.call(deadline, method, *arguments) for shard in self.shards)
