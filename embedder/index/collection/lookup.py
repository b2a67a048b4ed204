"""Reads stored points by id and page by page. Knows nothing of scores or of projections."""

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
from embedder.index.contract.points import Page, PointField, Record
from embedder.index.contract.response_budget import ResponseBudget
from embedder.index.storage.reading import Payload, Reader
from embedder.index.storage.rows import decode_metadata

ReadT = TypeVar("ReadT")
Read = Callable[[Reader, OpenCollection], ReadT]
"""Reads something of one creation of a collection."""

_CURSOR = re.compile(r"(?P<mark>[0-9a-f]{8})\.(?P<pk>[0-9]{1,18})")


def read_current(
    find: Callable[[str], OpenCollection], name: str, reader: Reader, read: Read[ReadT]
) -> ReadT:
    """Return what is read of a collection, and again if another took its place meanwhile.

    Rows of a collection that was dropped go at any time. Raises what ``find`` and ``read`` raise.
    """
    while True:
        collection = find(name)
        with suppress(UnknownCollection):
            found = read(reader, collection)
            if not collection.is_dropped:
                return found


def records_by_id(
    reader: Reader,
    collection: OpenCollection,
    ids: Sequence[str],
    include: Sequence[PointField],
    max_bytes: int | None = None,
) -> list[Record]:
    """Return those of the points that are stored, in the order asked for, each once.

    Raises:
        LimitExceeded: they take more than ``max_bytes`` in an answer.
    """
    room = ResponseBudget(include, max_bytes=max_bytes, width=collection.width, field="ids")
    found = {one.id: one for one in reader.by_ids(collection.id, list(dict.fromkeys(ids)), room)}
    chosen = [found[name] for name in dict.fromkeys(ids) if name in found]
    return _records(reader, collection, chosen, include)


def scroll_page(
    reader: Reader,
    collection: OpenCollection,
    cursor: str | None,
    limit: int,
    condition: Filter | None,
    budget: ResponseBudget,
) -> Page:
    """Return the points behind a cursor, by the order of their first insertion.

    The page ends where there is no room for the next point, but has one.

    Raises:
        InvalidInput: the cursor is not one of ours, or ``limit`` is not 1 to `MAX_PAGE`.
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
    """Return the mark in cursors of this collection; other and earlier ones have another."""
    return collection.uuid[:8]


def _records(
    reader: Reader,
    collection: OpenCollection,
    found: Sequence[Payload],
    include: Sequence[PointField],
) -> list[Record]:
    vectors: dict[int, Vectors] = {}
    if "vector" in include and found and collection.width is not None:
        pks = np.array([one.pk for one in found], np.int64)
        pairs, _, rows = reader.vectors(pks, collection.width)
        vectors = dict(zip(pairs[:, 0].tolist(), rows, strict=True))
        # Those deleted between the two reads are left out, as if they had been gone at the first.
        found = [one for one in found if one.pk in vectors]
    return [
        Record(
            one.id,
            one.text if "text" in include else None,
            decode_metadata(one.metadata) if "metadata" in include else {},
            vectors.get(one.pk),
        )
        for one in found
    ]
