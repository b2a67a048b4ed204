"""The reads of an index of several shards.

Each point is in one shard, and a search goes to all shards. If a shard is down, its hits are
missing from a search, and the answer names the shard.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TypeVar

from deployments.index.client import RemoteShard, ShardedHits
from deployments.index.collection_cache import CollectionCache
from deployments.index.gathering import gather_all, search_shards, with_vectors
from deployments.index.shard_repair import all_collections, look_up
from deployments.index.sparse_search import search_sparse
from deployments.index.text_search import search_texts
from embedder.core.deadline import Deadline
from embedder.core.errors import UnknownCollection
from embedder.index import sharding
from embedder.index.contract.checks import check_ids, check_query
from embedder.index.contract.filters import Filter
from embedder.index.contract.points import (
    CollectionInfo,
    Consistency,
    Page,
    PointField,
    Query,
    Record,
)
from embedder.index.contract.sparse_queries import SparseQuery, check_sparse_query
from embedder.index.contract.texts import TextQuery, check_text_query
from embedder.index.vector_index import VectorIndex

AnyQuery = TypeVar("AnyQuery", Query, TextQuery, SparseQuery)


class ShardedReads:
    """The reads of `VectorIndex` over all shards, with one consistency.

    Any replica of a shard answers. With ``latest`` it has every write that was acknowledged before
    the call; with ``stale`` it may lack the last ones, and the shards are not repaired.
    ``max_bytes`` limits one answer as JSON; the queries of a search get equal shares of it.
    """

    def __init__(
        self, shards: Sequence[RemoteShard], max_bytes: int | None, consistency: Consistency
    ) -> None:
        self.shards = tuple(shards)
        self._max_bytes = max_bytes
        self._consistency = consistency
        self._searched = ChainMap(*(shard.searched for shard in self.shards))
        self.collection_cache = CollectionCache(
            partial(look_up, self.shards, consistency=consistency)
        )

    async def collections(self, deadline: Deadline) -> list[CollectionInfo]:
        """Return the descriptions of all collections, by name."""
        return await all_collections(self.shards, deadline, self._consistency)

    async def describe(self, name: str, deadline: Deadline) -> CollectionInfo:
        """Return the description of a collection, summed over all shards."""
        await self._repair(name, deadline)
        given = (name, self._consistency)
        calls = (shard.call(deadline, VectorIndex.describe, *given) for shard in self.shards)
        return sharding.merge_infos(await gather_all(calls))

    async def fetch(
        self, name: str, ids: Sequence[str], include: Sequence[PointField], deadline: Deadline
    ) -> list[Record]:
        """Return those of the points that exist, each once, in the order of ``ids``."""
        owned, method = self._ids_by_shard(ids), VectorIndex.fetch
        await self._repair(name, deadline)
        given = (include, self._max_bytes, self._consistency)
        calls = (shard.call(deadline, method, name, own, *given) for shard, own in owned)
        found = {record.id: record for records in await gather_all(calls) for record in records}
        return [found[id_] for id_ in dict.fromkeys(ids) if id_ in found]

    async def count(self, name: str, condition: Filter | None, deadline: Deadline) -> int:
        """Return the number of points, or of the points that match a filter."""
        await self._repair(name, deadline)
        given = (name, condition, self._consistency)
        calls = (shard.call(deadline, VectorIndex.count, *given) for shard in self.shards)
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
            given = (inner, wanted, condition, include, left, self._consistency)
            page = await shard.call(deadline, VectorIndex.scroll, name, *given)
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
        """Answer several queries of one collection, which have the consistency of these reads.

        With ``complete``, a shard that does not answer fails the search; else its hits are missing.
        An index of one shard fails in both cases.
        """
        queries = self._limited(queries)
        if len(self.shards) == 1:
            return await self.shards[0].search(queries, deadline)
        for query in queries:
            check_query(query)

        async def search(asked: Sequence[Query]) -> ShardedHits:
            name = asked[0].collection
            fetch = partial(self.fetch, name, include=("vector",), deadline=deadline)
            asked = await with_vectors(asked, fetch)
            return await search_shards(self.shards, asked, complete=complete, deadline=deadline)

        return await self._of_one_creation(queries, search, deadline)

    async def search_text(
        self, queries: Sequence[TextQuery], *, complete: bool, deadline: Deadline
    ) -> ShardedHits:
        """Answer several queries by words of one collection; otherwise as `search`."""
        queries = self._limited(queries)
        if len(self.shards) == 1:
            return await self.shards[0].search_text(queries, deadline)
        for query in queries:
            check_text_query(query)

        async def search(asked: Sequence[TextQuery]) -> ShardedHits:
            return await search_texts(self.shards, asked, complete=complete, deadline=deadline)

        return await self._of_one_creation(queries, search, deadline)

    async def search_sparse(
        self, queries: Sequence[SparseQuery], *, complete: bool, deadline: Deadline
    ) -> ShardedHits:
        """Answer several queries by sparse weights of one collection; otherwise as `search`.

        Raises:
            InvalidInput: the collection has points, but none with sparse weights.
        """
        queries = self._limited(queries)
        for query in queries:
            check_sparse_query(query)

        async def search(asked: Sequence[SparseQuery]) -> ShardedHits:
            return await search_sparse(self.shards, asked, complete=complete, deadline=deadline)

        if len(self.shards) == 1:
            return await search(queries)
        return await self._of_one_creation(queries, search, deadline)

    def _limited(self, queries: Sequence[AnyQuery]) -> Sequence[AnyQuery]:
        """Return the queries with equal shares of the size of an answer."""
        if self._max_bytes is None:
            return queries
        share = self._max_bytes // max(1, len(queries))
        return [replace(query, max_bytes=share) for query in queries]

    async def _of_one_creation(
        self,
        queries: Sequence[AnyQuery],
        search: Callable[[Sequence[AnyQuery]], Awaitable[ShardedHits]],
        deadline: Deadline,
    ) -> ShardedHits:
        """Search the same creation of the collection in all shards."""
        if queries[0].identity is not None:
            return await search(queries)
        name = queries[0].collection

        async def of_known(info: CollectionInfo | None) -> ShardedHits:
            if info is None:
                raise UnknownCollection("collection", name)
            return await search([replace(query, identity=info.identity) for query in queries])

        return await self.collection_cache.run(name, of_known, deadline=deadline, texts=False)

    def searched(self, name: str) -> CollectionInfo | None:
        """Return a shard's description of a collection at its last search, or None."""
        return self._searched.get(name)

    async def _repair(self, name: str, deadline: Deadline) -> None:
        """Make several shards agree on the collection, before each answers for its own points.

        Raises:
            UnknownCollection: no shard has the collection.
        """
        if len(self.shards) == 1:
            return
        if await look_up(self.shards, name, deadline, self._consistency) is None:
            raise UnknownCollection("collection", name)

    def _ids_by_shard(self, ids: Sequence[str]) -> list[tuple[RemoteShard, list[str]]]:
        # Checked here: a shard would name an id by its index among the ids of that shard.
        check_ids(ids, "ids[{}]")
        rows_by_shard = sharding.rows_by_shard(ids, len(self.shards))
        return [
            (self.shards[shard], [ids[row] for row in rows])
            for shard, rows in rows_by_shard.items()
        ]
