"""Calls to several shards whose answers are gathered into one, which names lost shards.

In a search, each shard gets all queries, and the best hits of all shards are merged.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import replace
from typing import TypeVar

from deployments.index.client import RemoteShard, ShardedHits
from deployments.rpc.cooperative_yield import CooperativeYield
from deployments.rpc.pickled_rows import PickledRows
from embedder.core.deadline import Deadline
from embedder.core.errors import DeadlineExceeded, NotFound, Unavailable, UnknownCollection
from embedder.core.storage_errors import StaleCollection, StorageDamaged
from embedder.index import sharding
from embedder.index.contract.points import Consistency, Deleted, Hit, Metric, Query, Record
from embedder.index.vector_index import VectorIndex

T = TypeVar("T")

LOST = (Unavailable, StorageDamaged)
"""Errors of a shard after which the other shards can answer a search without it."""

BEHIND = (*LOST, StaleCollection, UnknownCollection)
"""The same for a stale search: a replica may have another creation of the collection, or none."""

INLINE_HITS = 4000
"""The most hits of one query that are merged on the event loop, which takes about 10 ms."""


async def search_shards(
    shards: Sequence[RemoteShard],
    queries: Sequence[Query],
    *,
    complete: bool,
    deadline: Deadline,
) -> ShardedHits:
    """Answer queries by vector, all of one creation of one collection and of one consistency.

    With ``complete``, a shard that does not answer fails the search; else its hits are missing.

    Raises:
        StaleCollection: only some of the shards have the collection.
        EmbedderError: no shard answered or, with ``complete``, not every shard.
    """
    asked = [sharding.shard_query(query) for query in queries]
    found = await answers_of(
        shards,
        (shard.search(asked, deadline) for shard in shards),
        queries[0].consistency,
        complete=complete,
    )
    metric = Metric.COSINE  # any will do, unless a query wants diversity
    if any(query.diversity is not None for query in queries):
        first = next(iter(found))
        asked_as = (queries[0].collection, queries[0].consistency)
        info = await first.call(deadline, VectorIndex.describe, *asked_as)
        metric = info.metric
    hits = await merge_hits(queries, [one.hits for one in found.values()], metric, deadline)
    missing = [shard.name for shard in shards if shard not in found]
    return ShardedHits(hits, missing, max(one.sent_s for one in found.values()))


async def answers_of(
    shards: Sequence[RemoteShard],
    calls: Iterable[Awaitable[T]],
    consistency: Consistency,
    *,
    complete: bool,
) -> dict[RemoteShard, T]:
    """Wait for one call to each shard of a search; return the answers, without lost shards.

    Raises:
        StaleCollection: only some of the shards have the collection.
        EmbedderError: no shard answered or, with ``complete``, not every shard.
    """
    results = await asyncio.gather(*calls, return_exceptions=True)
    found = {
        shard: result
        for shard, result in zip(shards, results, strict=True)
        if not isinstance(result, BaseException)
    }
    without = BEHIND if consistency == "stale" else LOST
    for error in errors_in(results):
        if not complete and found and isinstance(error, without):
            continue
        if isinstance(error, UnknownCollection) and found:
            raise StaleCollection(error.name) from error
        raise error
    return found


async def with_vectors(
    queries: Sequence[Query], fetch: Callable[[list[str]], Awaitable[list[Record]]]
) -> list[Query]:
    """Return the queries, those by id with the vectors of their points.

    Raises:
        NotFound: there is no point with one of the ids.
    """
    ids = [query.id for query in queries if query.id is not None]
    vectors = {record.id: record.vector for record in await fetch(ids)} if ids else {}
    for id_ in ids:
        if id_ not in vectors:
            raise NotFound("id", id_)
    return [
        query if query.id is None else replace(query, vector=vectors[query.id]) for query in queries
    ]


async def merge_hits(
    queries: Sequence[Query],
    answers: Sequence[list[PickledRows[Hit]]],
    metric: Metric,
    deadline: Deadline,
) -> list[PickledRows[Hit]]:
    """Merge the shards' answers into the hits of each query; other requests run in between.

    Queries with many hits, or with diversity, which takes up to 0.5 s per query, are merged in a
    thread.

    Raises:
        DeadlineExceeded: the deadline passed during a merge in a thread.
    """
    merged: list[PickledRows[Hit]] = []
    yielding = CooperativeYield()
    for row, query in enumerate(queries):
        lists = [answer[row] for answer in answers]
        if query.diversity is None and sum(map(len, lists)) <= INLINE_HITS:
            merged.append(_merge(query, lists, metric))
            await yielding.after(sum(len(chunk) for hits in lists for chunk in hits.chunks))
            continue
        try:
            async with deadline.limit():
                merged.append(await asyncio.to_thread(_merge, query, lists, metric))
        except asyncio.TimeoutError:
            raise DeadlineExceeded("index") from None
    return merged


def _merge(query: Query, lists: Sequence[PickledRows[Hit]], metric: Metric) -> PickledRows[Hit]:
    return PickledRows.of(Hit, sharding.merge_hits(query, [list(hits) for hits in lists], metric))


def merge_scored(top_k: int, lists: Sequence[PickledRows[Hit]]) -> PickledRows[Hit]:
    """Merge the hits of several shards, whose scores are comparable, into the best of them."""
    hits = sorted((hit for one in lists for hit in one), key=lambda hit: (-hit.score, hit.id))
    return PickledRows.of(Hit, hits[:top_k])


async def gather_all(calls: Iterable[Awaitable[T]]) -> list[T]:
    """Wait until all calls have ended, and then raise the first error, if any."""
    results = await asyncio.gather(*calls, return_exceptions=True)
    for error in errors_in(results):
        raise error
    return [result for result in results if not isinstance(result, BaseException)]


def errors_in(results: Iterable[object]) -> list[BaseException]:
    """Return the errors among the results of several calls."""
    return [result for result in results if isinstance(result, BaseException)]


def sum_deletions(deletions: Sequence[Deleted]) -> Deleted:
    """Return the deletions of all shards as one."""
    count = sum(deleted.count for deleted in deletions)
    return Deleted(count, max(deleted.sequence for deleted in deletions))
