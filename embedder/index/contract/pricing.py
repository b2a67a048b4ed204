"""The prices of searches, reads and writes of the index, before they run.

A search is priced in searches of a small collection, a read in rows that a filter looks at, a write
in bytes. Prices are compared with measured rates, so only their proportions matter.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from embedder.index.contract.filters import Filter
from embedder.index.contract.kinds import IndexKind
from embedder.index.contract.points import CollectionInfo, Points, Query

SEARCH_ROWS = 1000
"""What a query costs beside its comparisons, in vectors that it is compared with."""

FILTER_ROWS = 10
"""What a row that a filter looks at costs, in vectors that a query is compared with."""

GRAPH_ROWS = 2000
"""Vectors of a graph that a query is compared with at most."""

PROBED = 8
"""One in so many inverted lists is searched."""

ROW_RETURNED = 5
"""A row that is read, checked and returned costs as much as so many that a filter looks at."""

ROW_BYTES = 1000
"""What a row that is written or deleted costs beside its own bytes."""

SCANNED_BYTES = 100
"""What a row that a deletion by filter looks at costs."""


def search_price(queries: Sequence[Query], collection: CollectionInfo | None) -> int:
    """Return the price of the queries of one collection; None is a small one.

    Queries with equal filters are answered together, so the rows are looked at once.
    """
    if collection is None:
        return len(queries)
    filters = {query.filter for query in queries} - {None}
    rows = len(queries) * _compared(collection) + len(filters) * FILTER_ROWS * collection.count
    return len(queries) + rows // SEARCH_ROWS


def _compared(collection: CollectionInfo) -> int:
    """Return about how many vectors a query is compared with."""
    sealed = max(0, collection.count - collection.pending)
    if collection.serving == IndexKind.HNSW:
        sealed = min(sealed, GRAPH_ROWS)
    elif collection.serving != IndexKind.FLAT:
        sealed //= PROBED
    return collection.pending + sealed


def fetch_price(points: int) -> int:
    """Return the rows of reading so many points by id."""
    return 1 + ROW_RETURNED * points


def count_price(collection: CollectionInfo, condition: Filter | None) -> int:
    """Return the rows of a count; without a filter the number is known."""
    return 1 if condition is None else 1 + collection.count


def page_price(collection: CollectionInfo, limit: int, condition: Filter | None) -> int:
    """Return the rows of a page; with a filter it may have to look at every row."""
    return fetch_price(limit) + (0 if condition is None else collection.count)


def upsert_price(points: Points) -> int:
    """Return the bytes of writing points; metadata counts as text of the same length."""
    texts = sum(len(text) for text in points.texts if text is not None)
    return (
        ROW_BYTES * len(points.ids)
        + int(points.vectors.nbytes)
        + texts
        + _metadata_bytes(points.metadata)
    )


def _metadata_bytes(metadata: Sequence[dict[str, Any]]) -> int:
    # By orjson: the event loop asks for this, and Python would take a second for 16 MiB.
    try:
        return len(orjson.dumps(metadata))
    except TypeError:
        return 0  # what is no JSON is refused before it is stored


def delete_price(points: int) -> int:
    """Return the bytes of deleting so many points by id."""
    return ROW_BYTES * max(1, points)


def delete_matching_price(collection: CollectionInfo) -> int:
    """Return the bytes of looking for the points to delete."""
    return ROW_BYTES + SCANNED_BYTES * collection.count
