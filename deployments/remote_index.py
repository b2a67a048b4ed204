"""The index over handles: its shards as one, and one answer out of several.

Every point is in one shard. A write goes to those that it concerns, a search to all; what a shard
that is gone would have answered is missing from a search, and said so. Knows nothing of how
vectors are kept or found.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from deployments.remote import Handle
from deployments.remote_shard import RemoteShard
from embedder.errors import InvalidInput, NotFound, Unavailable, UnknownCollection
from embedder.index import spread
from embedder.index.checks import check_ids, check_metadata, check_points, check_query
from embedder.index.filters import Filter
from embedder.index.points import (
    CollectionInfo,
    Deleted,
    Hit,
    Metric,
    Page,
    Part,
    Points,
    Query,
    Record,
    Spec,
)
from embedder.storage_errors import StorageDamaged

T = TypeVar("T")

KNOWN_S = 5.0
MAX_KNOWN = 10_000
"""How long, and of how many collections, it is remembered which model they have."""


@dataclass(frozen=True, slots=True)
class Found:
    """The hits of every query, and the names of the shards that did not answer."""

    hits: list[list[Hit]]
    missing: list[str]


class RemoteIndex:
    """All shards of the index; ``handles`` are by the names of their deployments, in order.

    ``max_bytes`` is what one answer may take as JSON; the queries of a search have equal shares.
    """

    def __init__(self, handles: Mapping[str, Handle], max_bytes: int | None = None) -> None:
        self._max_bytes = max_bytes
        self._models: dict[str, tuple[float, str | None]] = {}
        self.shards = tuple(RemoteShard(name, handle) for name, handle in handles.items())

    async def create(self, name: str, spec: Spec, deadline: float | None) -> CollectionInfo:
        """Create a collection, or confirm one that is there."""
        return spread.summed(await self._all(deadline, "create", name, spec))

    async def model_of(self, name: str, deadline: float | None) -> str | None:
        """Return the model that a collection's texts are embedded with, None for the default one.

        What was known a moment ago is taken for true: no search pays a call for it.

        Raises:
            UnknownCollection: there is none of this name.
        """
        now = time.monotonic()
        known = self._models.get(name)
        if known is None or known[0] < now:
            info: CollectionInfo = await self.shards[0].call(deadline, "describe", name)
            if len(self._models) >= MAX_KNOWN:
                self._models.clear()
            known = self._models[name] = (now + KNOWN_S, info.model)
        return known[1]

    async def collections(self, deadline: float | None) -> list[CollectionInfo]:
        """Return what is known of every collection, by name."""
        told: dict[str, list[CollectionInfo]] = defaultdict(list)
        for infos in await self._all(deadline, "collections"):
            for info in infos:
                told[info.name].append(info)
        return [spread.summed(told[name]) for name in sorted(told)]

    async def describe(self, name: str, deadline: float | None) -> CollectionInfo:
        """Return what is known of a collection."""
        return spread.summed(await self._all(deadline, "describe", name))

    async def delete(self, name: str, deadline: float | None) -> None:
        """Delete a collection with all its points."""
        await self._all(deadline, "delete", name)

    async def upsert(self, name: str, points: Points, deadline: float | None) -> int:
        """Set points of a collection, all or none unless a shard is lost just then.

        Returns the largest sequence number of the shards concerned.
        """
        # Before they are sent: pickle fails on values that are nested too deeply.
        check_metadata(points.metadata)
        if len(self.shards) == 1:
            return await self.shards[0].upsert(deadline, name, points)
        spec = await self._spec(name, points, deadline)
        # No shard sees all points, so none could refuse the request as a whole.
        check_points(points, width=spec.width, metric=spec.metric)
        parts = spread.by_shard(points.ids, len(self.shards))
        return max(
            await together(
                self.shards[shard].upsert(deadline, name, spread.part(points, rows), spec)
                for shard, rows in parts.items()
            )
        )

    async def delete_points(self, name: str, ids: Sequence[str], deadline: float | None) -> Deleted:
        """Delete those of the points that are there."""
        # A shard sees some of the ids, and would name an id by its place among those.
        check_ids(ids, "ids[{}]")
        parts = spread.by_shard(ids, len(self.shards))
        return _deleted(
            await together(
                self.shards[shard].call(deadline, "delete_points", name, [ids[row] for row in rows])
                for shard, rows in parts.items()
            )
        )

    async def delete_matching(
        self, name: str, condition: Filter, deadline: float | None
    ) -> Deleted:
        """Delete all points that meet a filter."""
        return _deleted(await self._all(deadline, "delete_matching", name, condition))

    async def fetch(
        self, name: str, ids: Sequence[str], include: Sequence[Part], deadline: float | None
    ) -> list[Record]:
        """Return those of the points that are stored, in the order asked for, each once."""
        check_ids(ids, "ids[{}]")
        parts = spread.by_shard(ids, len(self.shards))
        told = await together(
            self.shards[shard].fetch(
                deadline, name, [ids[row] for row in rows], include, self._max_bytes
            )
            for shard, rows in parts.items()
        )
        found: dict[str, Record] = {record.id: record for records in told for record in records}
        return [found[one] for one in dict.fromkeys(ids) if one in found]

    async def count(self, name: str, condition: Filter | None, deadline: float | None) -> int:
        """Return how many points there are, or how many meet a filter."""
        return sum(await self._all(deadline, "count", name, condition))

    async def scroll(
        self,
        name: str,
        cursor: str | None,
        limit: int,
        condition: Filter | None,
        include: Sequence[Part],
        *,
        deadline: float | None,
    ) -> Page:
        """Return a page of points: shard by shard, and in each in the order of insertion.

        It ends before ``limit`` where it would be too large.
        """
        shard, inner = _place(cursor, len(self.shards))
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
        self, queries: Sequence[Query], *, complete: bool, deadline: float | None
    ) -> Found:
        """Answer several queries of one collection.

        With ``complete`` a shard that does not answer fails the search, else it is missing. One
        alone is never missing.
        """
        if self._max_bytes is not None:
            share = self._max_bytes // max(1, len(queries))
            queries = [replace(query, max_bytes=share) for query in queries]
        if len(self.shards) == 1:
            return Found(await self.shards[0].search(queries, deadline), [])
        for query in queries:
            check_query(query)
        queries = await self._by_vector(queries, deadline)
        asked = [spread.asked_of_each(query) for query in queries]
        told = await asyncio.gather(
            *(shard.search(asked, deadline) for shard in self.shards), return_exceptions=True
        )
        answers, missing = self._sorted_out(told, complete=complete)
        metric = await self._metric(queries, self.shards[answers[0][0]], deadline)
        hits = [
            spread.merged(query, [found[row] for _, found in answers], metric)
            for row, query in enumerate(queries)
        ]
        return Found(hits, missing)

    async def _metric(
        self, queries: Sequence[Query], shard: RemoteShard, deadline: float | None
    ) -> Metric:
        """Return by what answers are to be unlike each other, where any query wants that."""
        if all(query.diversity is None for query in queries):
            return Metric.COSINE
        info: CollectionInfo = await shard.call(deadline, "describe", queries[0].collection)
        return info.metric

    def _sorted_out(
        self, told: Sequence[list[list[Hit]] | BaseException], *, complete: bool
    ) -> tuple[list[tuple[int, list[list[Hit]]]], list[str]]:
        """Return the answers with their shards' numbers, and the names of shards without one."""
        answers = [(at, one) for at, one in enumerate(told) if not isinstance(one, BaseException)]
        errors = [one for one in told if isinstance(one, BaseException)]
        for error in errors:
            passing = (Unavailable, UnknownCollection, StorageDamaged)
            if complete or not answers or not isinstance(error, passing):
                raise error
        missing = [
            self.shards[at].name
            for at, one in enumerate(told)
            if isinstance(one, (Unavailable, StorageDamaged))
        ]
        return answers, missing

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

    async def _spec(self, name: str, points: Points, deadline: float | None) -> Spec:
        """Return how a collection is made, which is created in all shards if it is nowhere."""
        try:
            info: CollectionInfo = await self.shards[0].call(deadline, "describe", name)
        except UnknownCollection:
            spec = Spec(width=points.vectors.shape[1])
            await self._all(deadline, "create", name, spec)
            return spec
        return spread.spec_of(info)

    async def _all(self, deadline: float | None, method: str, *arguments: Any) -> list[Any]:
        return await together(shard.call(deadline, method, *arguments) for shard in self.shards)


async def together(calls: Iterable[Awaitable[T]]) -> list[T]:
    """Wait for all calls, and raise the first error when every other call has ended."""
    told = await asyncio.gather(*calls, return_exceptions=True)
    for one in told:
        if isinstance(one, BaseException):
            raise one
    return [one for one in told if not isinstance(one, BaseException)]


def _deleted(told: Sequence[Deleted]) -> Deleted:
    return Deleted(sum(one.count for one in told), max(one.sequence for one in told))


def _place(cursor: str | None, shards: int) -> tuple[int, str | None]:
    """Return the number of the shard that a page begins in, and the cursor inside it."""
    if cursor is None:
        return 0, None
    shard, dot, inner = cursor.partition(".")
    # Compared as text: Python reads no number of more than 4,300 digits.
    if not dot or shard not in map(str, range(shards)):
        raise InvalidInput("cursor", "is not one that a page came with")
    return int(shard), inner or None
