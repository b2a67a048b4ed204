"""The answers of several shards to one call as one answer, which names the lost shards.

Knows nothing of the call.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from deployments.remote import remaining_s
from deployments.remote_shard import RemoteShard
from embedder.errors import DeadlineExceeded, Unavailable, UnknownCollection
from embedder.index import spread
from embedder.index.points import Deleted, Hit, Metric, Query
from embedder.storage_errors import StaleCollection, StorageDamaged
from embedder.time_limit import wait_within

T = TypeVar("T")

LOST = (Unavailable, StorageDamaged)
"""Errors of a shard whose part of an answer may be missing."""


@dataclass(frozen=True, slots=True)
class Found:
    """The hits of every query, and the names of the shards that did not answer."""

    hits: list[list[Hit]]
    missing: list[str]


def sorted_out(
    shards: Sequence[RemoteShard],
    told: Sequence[list[list[Hit]] | BaseException],
    *,
    complete: bool,
) -> tuple[list[tuple[int, list[list[Hit]]]], list[str]]:
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


async def merged(
    queries: Sequence[Query],
    answers: Sequence[list[list[Hit]]],
    metric: Metric,
    deadline: float | None,
) -> list[list[Hit]]:
    """Return the hits of each query out of the answers of the shards.

    Hits that are to be unlike each other are chosen in a thread, which takes up to half a second a
    query, and no longer than until the deadline.

    Raises:
        DeadlineExceeded: the deadline has passed.
    """
    found: list[list[Hit]] = []
    for row, query in enumerate(queries):
        parts = [answer[row] for answer in answers]
        if query.diversity is None:
            found.append(spread.merged(query, parts, metric))
            continue
        choosing = asyncio.to_thread(spread.merged, query, parts, metric)
        try:
            found.append(await wait_within(choosing, remaining_s(deadline)))
        except asyncio.TimeoutError:
            raise DeadlineExceeded("index") from None
    return found


async def together(calls: Iterable[Awaitable[T]]) -> list[T]:
    """Wait for all calls, and raise the first error when every other call has ended."""
    told = await asyncio.gather(*calls, return_exceptions=True)
    for one in told:
        if isinstance(one, BaseException):
            raise one
    return [one for one in told if not isinstance(one, BaseException)]


def deleted(told: Sequence[Deleted]) -> Deleted:
    """Return the deletions of all shards as one."""
    return Deleted(sum(one.count for one in told), max(one.sequence for one in told))
