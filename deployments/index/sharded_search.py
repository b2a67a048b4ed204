"""A search in several shards: each shard gets all queries, and the best hits of all are merged."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

from deployments.index.client import RemoteShard
from deployments.index.gathering import ShardedHits, merge_hits, split_answers
from embedder.core.deadline import Deadline
from embedder.core.errors import NotFound
from embedder.index import sharding
from embedder.index.contract.points import CollectionInfo, Metric, Query, Record


async def search_shards(
    shards: Sequence[RemoteShard],
    queries: Sequence[Query],
    *,
    complete: bool,
    deadline: Deadline,
    sent_at: list[float] | None,
) -> ShardedHits:
    """Answer queries by vector, all of one creation of one collection.

    With ``complete``, a shard that does not answer fails the search; else its hits are missing.
    """
    asked = [sharding.shard_query(query) for query in queries]
    results = await asyncio.gather(
        *(shard.search(asked, deadline, sent_at) for shard in shards), return_exceptions=True
    )
    answers, missing = split_answers(shards, results, complete=complete)
    metric = await _metric(queries, shards[answers[0][0]], deadline)
    hits = await merge_hits(queries, [answer for _, answer in answers], metric, deadline)
    return ShardedHits(hits, missing)


async def with_vectors(
    queries: Sequence[Query], fetch: Callable[[list[str]], Awaitable[list[Record]]]
) -> list[Query]:
    """Return the queries, those by id with the vectors of their points.

    Raises:
        NotFound: there is no point with one of the ids.
    """
    ids = [query.id for query in queries if query.id is not None]
    if not ids:
        return list(queries)
    vectors = {record.id: record.vector for record in await fetch(ids)}
    for id_ in ids:
        if id_ not in vectors:
            raise NotFound("id", id_)
    return [
        query if query.id is None else replace(query, vector=vectors[query.id]) for query in queries
    ]


async def _metric(queries: Sequence[Query], shard: RemoteShard, deadline: Deadline) -> Metric:
    """Return the collection's metric if a query wants diversity; else any metric will do."""
    if all(query.diversity is None for query in queries):
        return Metric.COSINE
    info: CollectionInfo = await shard.call(deadline, "describe", queries[0].collection)
    return info.metric
