"""Describe collections, and read, count and search their points.

A read is repeated if its collection was deleted in the meantime, because the rows of a deleted
collection disappear at any time. If other processes write too, a read of the latest writes follows
their log first, and reads rows of one moment.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TypeVar

import numpy as np

from embedder.core.cancellation import stop_if_cancelled
from embedder.core.errors import InvalidInput, UnknownCollection
from embedder.core.types import Vectors
from embedder.index.collection.following_collection import FollowingCollection
from embedder.index.collection.open_collection import OpenCollection
from embedder.index.collection.searcher import Searcher, group_queries
from embedder.index.contract.checks import check_ids, check_query
from embedder.index.contract.filters import Filter
from embedder.index.contract.limits import MAX_PAGE
from embedder.index.contract.points import (
    PAYLOAD,
    CollectionInfo,
    Consistency,
    Hit,
    Page,
    Payload,
    PointField,
    Query,
    Record,
)
from embedder.index.contract.response_budget import ResponseBudget
from embedder.index.shard import Shard
from embedder.index.storage.reader import Reader
from embedder.index.storage.row_encoding import decode_metadata
from embedder.index.storage.stale_reads import stale_reads

T = TypeVar("T")

_CURSOR = re.compile(r"(?P<mark>[0-9a-f]{8})\.(?P<pk>[0-9]{1,18})")


def collections(shard: Shard, consistency: Consistency = "latest") -> list[CollectionInfo]:
    """Return descriptions of all collections, by name."""
    if consistency == "latest":
        shard.follow()
    found = shard.collections.open
    return [found[name].describe() for name in sorted(found)]


def describe(shard: Shard, name: str, consistency: Consistency = "latest") -> CollectionInfo:
    """Return the description of a collection."""
    if consistency == "latest":
        shard.follow([name])
    return shard.find(name).describe()


def fetch(
    shard: Shard,
    name: str,
    ids: Sequence[str],
    include: Sequence[PointField] = PAYLOAD,
    max_bytes: int | None = None,
    consistency: Consistency = "latest",
) -> list[Record]:
    """Return the stored points among the ids, in the order of the ids, each once.

    Raises:
        InvalidInput: an id is invalid.
        LimitExceeded: the points take more than ``max_bytes`` in a response as JSON.
    """
    check_ids(ids, "ids[{}]")
    distinct = list(dict.fromkeys(ids))

    def read(collection: OpenCollection, reader: Reader) -> list[Record]:
        budget = ResponseBudget(include, max_bytes=max_bytes, width=collection.width, field="ids")
        points = reader.by_ids(collection.id, distinct, budget)
        stored = {point.id: point for point in points}
        chosen = [stored[one] for one in distinct if one in stored]
        return _records(reader, collection, chosen, include)

    return _read_rows(shard, name, consistency, read)


def count(
    shard: Shard,
    name: str,
    condition: Filter | None = None,
    consistency: Consistency = "latest",
) -> int:
    """Return the number of points, or of those that meet a filter."""
    if condition is None:
        return describe(shard, name, consistency).count
    given = condition
    return _read_rows(shard, name, consistency, lambda one, reader: reader.count(one.id, given))


def scroll(  # noqa: PLR0913 - the shard, and the parameters of a method
    shard: Shard,
    name: str,
    cursor: str | None = None,
    limit: int = 100,
    condition: Filter | None = None,
    include: Sequence[PointField] = PAYLOAD,
    max_bytes: int | None = None,
    consistency: Consistency = "latest",
) -> Page:
    """Return the page of points after the cursor of the previous page, in insertion order.

    Points that are not deleted meanwhile come exactly once. ``max_bytes`` may end a page early, but
    the page holds at least one point.

    Raises:
        InvalidInput: the cursor is not from a page of this collection, or ``limit`` is not 1 to
            `MAX_PAGE`.
    """

    def read(collection: OpenCollection, reader: Reader) -> Page:
        if not 1 <= limit <= MAX_PAGE:
            raise InvalidInput("limit", f"is {limit}; it must be 1 to {MAX_PAGE}")
        budget = ResponseBudget(include, max_bytes=max_bytes, width=collection.width)
        after = _position(collection, cursor)
        shown, more = reader.page(collection.id, after, limit, condition, budget)
        following = f"{_mark(collection)}.{shown[-1].pk}" if more else None
        return Page(_records(reader, collection, shown, include), following, budget.used)

    return _read_rows(shard, name, consistency, read)


def search(shard: Shard, queries: Sequence[Query]) -> list[list[Hit]]:
    """Return the hits of each query; similar queries share one FAISS call per segment.

    Raises:
        NotFound: a query is by the id of a point that does not exist.
        InvalidInput: a vector or a parameter of a query is invalid.
        StaleCollection: the collection has another identity or model than a query states.
    """
    for query in queries:
        check_query(query)
    latest = {query.collection for query in queries if query.consistency == "latest"}
    if latest:
        shard.follow(latest)
    answers: list[list[Hit]] = [[] for _ in queries]
    for rows in group_queries(queries):
        stop_if_cancelled()
        group = [queries[row] for row in rows]
        with shard.guard(group[0].collection):
            found = _search(shard, group)
        for row, hits in zip(rows, found, strict=True):
            answers[row] = hits
    return answers


def _search(shard: Shard, queries: Sequence[Query]) -> list[list[Hit]]:
    def read(collection: OpenCollection) -> list[list[Hit]]:
        return Searcher(collection, shard.store, shard.settings).search(queries)

    return read_again(shard, queries[0].collection, read)


def _read_rows(
    shard: Shard,
    name: str,
    consistency: Consistency,
    read: Callable[[OpenCollection, Reader], T],
) -> T:
    """Call ``read`` for the collection of this name, and a reader of its rows; see `read_again`."""

    def with_reader(collection: OpenCollection) -> T:
        if consistency == "stale":
            with stale_reads():
                return read(collection, shard.store.reader)
        if isinstance(collection, FollowingCollection):
            with collection.pinned() as (reader, _):
                return read(collection, reader)
        return read(collection, shard.store.reader)

    return read_again(shard, name, with_reader)


def read_again(shard: Shard, name: str, read: Callable[[OpenCollection], T]) -> T:
    """Call ``read`` for the collection of this name, again if it was deleted in the meantime."""
    while True:
        collection = shard.find(name)
        with suppress(UnknownCollection):
            result = read(collection)
            if not collection.is_dropped:
                return result
        shard.follow([name])


def _position(collection: OpenCollection, cursor: str | None) -> int:
    if cursor is None:
        return 0
    given = _CURSOR.fullmatch(cursor)
    if given is None:
        raise InvalidInput("cursor", "is not one that a page came with")
    if given["mark"] != _mark(collection):
        raise InvalidInput("cursor", f"is not one of the present collection {collection.name!r}")
    return int(given["pk"])


def _mark(collection: OpenCollection) -> str:
    """Return the mark of this collection in cursors, which no other or earlier one has."""
    return collection.uuid[:8]


def _records(
    reader: Reader,
    collection: OpenCollection,
    stored: Sequence[Payload],
    include: Sequence[PointField],
) -> list[Record]:
    vectors: dict[int, Vectors] = {}
    if "vector" in include and stored and collection.width is not None:
        pks = np.array([one.pk for one in stored], np.int64)
        pairs, _, rows = reader.vectors(collection.id, pks, collection.width)
        vectors = dict(zip(pairs[:, 0].tolist(), rows, strict=True))
        # Leave out the points that were deleted between the two reads.
        stored = [one for one in stored if one.pk in vectors]
    return [
        Record(
            one.id,
            one.text if "text" in include else None,
            decode_metadata(one.metadata) if "metadata" in include else {},
            vectors.get(one.pk),
        )
        for one in stored
    ]
