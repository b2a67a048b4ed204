"""The answers of several shards to one call as one answer, which names the lost shards.

Knows nothing of the call.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from deployments.index.client import RemoteShard
from deployments.rpc.cooperative_yield import CooperativeYield
from deployments.rpc.handle_client import remaining_s
from deployments.rpc.pickled_rows import PickledRows
from embedder.core.errors import DeadlineExceeded, Unavailable, UnknownCollection
from embedder.core.storage_errors import StaleCollection, StorageDamaged
from embedder.core.time_limit import wait_within
from embedder.index import sharding
from embedder.index.contract.points import Deleted, Hit, Metric, Query

T = TypeVar("T")

LOST = (Unavailable, StorageDamaged)
"""Errors of a shard whose part of an answer may be missing."""

INLINE_HITS = 4000
"""The most hits of one query that are merged on the event loop: some 10 ms."""


@dataclass(frozen=True, slots=True)
class ShardedHits:
    """The hits of every query, and the names of the shards that did not answer."""

    hits: list[PickledRows[Hit]]
    missing: list[str]


def split_answers(
    shards: Sequence[RemoteShard],
    told: Sequence[list[PickledRows[Hit]] | BaseException],
    *,
    complete: bool,
) -> tuple[list[tuple[int, list[PickledRows[Hit]]]], list[str]]:
    """Return the answers with their shards' numbers, and the names of shards without one.

    Raises:
        StaleCollection: some shards have the collection, and some do not.
        EmbedderError: no shard answered or, with ``complete``, not every shard.
    """
    answers = [(at, one) for at, one in enumerate(told) if not isinstance(one, BaseException)]
    errors = [one for one in told if isinstance(one, BaseException)]
    for error in errors:
        if isinstance(error, UnknownCollection) and answers:
            raise StaleCollection(error.name) from error
        if complete or not answers or not isinstance(error, LOST):
            raise error
    missing = [shards[at].name for at, one in enumerate(told) if isinstance(one, LOST)]
    return answers, missing


async def merge_hits(
    queries: Sequence[Query],
    answers: Sequence[list[PickledRows[Hit]]],
    metric: Metric,
    deadline: float | None,
) -> list[PickledRows[Hit]]:
    """Return the hits of each query out of the answers of the shards, and serve others in between.

    Many hits of a query are merged in a thread, and so are hits that are to be unlike each other,
    which takes up to half a second a query; no longer than until the deadline.

    Raises:
        DeadlineExceeded: the deadline has passed.
    """
    found: list[PickledRows[Hit]] = []
    yielding = CooperativeYield()
    for row, query in enumerate(queries):
        parts = [answer[row] for answer in answers]
        if query.diversity is None and sum(map(len, parts)) <= INLINE_HITS:
            found.append(_merge(query, parts, metric))
            await yielding.after(sum(len(chunk) for part in parts for chunk in part.chunks))
            continue
        choosing = asyncio.to_thread(_merge, query, parts, metric)
        try:
            found.append(await wait_within(choosing, remaining_s(deadline)))
        except asyncio.TimeoutError:
            raise DeadlineExceeded("index") from None
    return found


def _merge(query: Query, parts: Sequence[PickledRows[Hit]], metric: Metric) -> PickledRows[Hit]:
    return PickledRows.of(Hit, sharding.merge_hits(query, [list(part) for part in parts], metric))


async def gather_all(calls: Iterable[Awaitable[T]]) -> list[T]:
    """Wait for all calls, and raise the first error when every other call has ended."""
    told = await asyncio.gather(*calls, return_exceptions=True)
    for one in told:
        if isinstance(one, BaseException):
            raise one
    return [one for one in told if not isinstance(one, BaseException)]


def sum_deletions(told: Sequence[Deleted]) -> Deleted:
    """Return the deletions of all shards as one."""
    return Deleted(sum(one.count for one in told), max(one.sequence for one in told))
