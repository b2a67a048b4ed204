"""The answers of several shards to one call, gathered into one answer that names lost shards."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from deployments.index.client import RemoteShard
from deployments.rpc.cooperative_yield import CooperativeYield
from deployments.rpc.pickled_rows import PickledRows
from embedder.core.deadline import Deadline
from embedder.core.errors import DeadlineExceeded, Unavailable, UnknownCollection
from embedder.core.storage_errors import StaleCollection, StorageDamaged
from embedder.index import sharding
from embedder.index.contract.points import Deleted, Hit, Metric, Query

T = TypeVar("T")

LOST = (Unavailable, StorageDamaged)
"""Errors of a shard after which the other shards can answer a search without it."""

INLINE_HITS = 4000
"""The most hits of one query that are merged on the event loop, which takes about 10 ms."""


@dataclass(frozen=True, slots=True)
class ShardedHits:
    """The hits of every query, and the names of the shards that did not answer."""

    hits: list[PickledRows[Hit]]
    missing: list[str]


def split_answers(
    shards: Sequence[RemoteShard],
    results: Sequence[list[PickledRows[Hit]] | BaseException],
    *,
    complete: bool,
) -> tuple[list[tuple[int, list[PickledRows[Hit]]]], list[str]]:
    """Return the answers with their shards' numbers, and the names of shards without an answer.

    Raises:
        StaleCollection: only some of the shards have the collection.
        EmbedderError: no shard answered or, with ``complete``, not every shard.
    """
    answers = [
        (number, result)
        for number, result in enumerate(results)
        if not isinstance(result, BaseException)
    ]
    for error in errors_in(results):
        if isinstance(error, UnknownCollection) and answers:
            raise StaleCollection(error.name) from error
        if complete or not answers or not isinstance(error, LOST):
            raise error
    missing = [
        shard.name
        for shard, result in zip(shards, results, strict=True)
        if isinstance(result, LOST)
    ]
    return answers, missing


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
