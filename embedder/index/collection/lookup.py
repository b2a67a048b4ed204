"""Reads stored points by id and page by page."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TypeVar

import numpy as np

from embedder.core.errors import InvalidInput, UnknownCollection
from embedder.core.types import Vectors
from embedder.index.collection.open_collection import OpenCollection
from embedder.index.contract.filters import Filter
from embedder.index.contract.limits import MAX_PAGE
from embedder.index.contract.points import Page, Payload, PointField, Record
from embedder.index.contract.response_budget import ResponseBudget
from embedder.index.storage.reading import Reader
from embedder.index.storage.row_encoding import decode_metadata

ReadT = TypeVar("ReadT")
Read = Callable[[Reader, OpenCollection], ReadT]
"""Reads from one collection."""

_CURSOR = re.compile(r"(?P<mark>[0-9a-f]{8})\.(?P<pk>[0-9]{1,18})")


def read_current(
    find: Callable[[str], OpenCollection], name: str, reader: Reader, read: Read[ReadT]
) -> ReadT:
    """Call ``read`` for the collection of this name, again if the collection was deleted meanwhile.

    The rows of a deleted collection disappear at any time. Raises what ``find`` and ``read`` raise.
    """
    while True:
        collection = find(name)
        with suppress(UnknownCollection):
            result = read(reader, collection)
            if not collection.is_dropped:
                return result


def records_by_id(
    reader: Reader,
    collection: OpenCollection,
    ids: Sequence[str],
    include: Sequence[PointField],
    max_bytes: int | None = None,
) -> list[Record]:
    """Return those of the points that are stored, each once, in the order of ``ids``.

    Raises:
        LimitExceeded: they take more than ``max_bytes`` in a response.
    """
    distinct = list(dict.fromkeys(ids))
    budget = ResponseBudget(include, max_bytes=max_bytes, width=collection.width, field="ids")
    stored = {one.id: one for one in reader.by_ids(collection.id, distinct, budget)}
    chosen = [stored[name] for name in distinct if name in stored]
    return _records(reader, collection, chosen, include)


def scroll_page(
    reader: Reader,
    collection: OpenCollection,
    cursor: str | None,
    limit: int,
    condition: Filter | None,
    budget: ResponseBudget,
) -> Page:
    """Return the points after a cursor, in the order of their first insertion.

    The page ends early if the budget is used up, but holds at least one point.

    Raises:
        InvalidInput: the cursor is not from a page of this collection, or ``limit`` is not 1 to
            `MAX_PAGE`.
    """
    if not 1 <= limit <= MAX_PAGE:
        raise InvalidInput("limit", f"is {limit}; it must be 1 to {MAX_PAGE}")
    after = _position(collection, cursor)
    shown, more = reader.page(collection.id, after, limit, condition, budget)
    following = f"{_mark(collection)}.{shown[-1].pk}" if more else None
    return Page(_records(reader, collection, shown, budget.include), following, budget.used)


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
        pairs, _, rows = reader.vectors(pks, collection.width)
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
