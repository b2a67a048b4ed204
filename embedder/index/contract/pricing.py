"""Estimates the cost of searches, reads and writes of the index before they run.

The unit of a search is a search of a small collection, of a read a row that a filter evaluates, and
of a write a byte. Prices are compared with measured rates, so only their proportions matter.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from embedder.index.contract.kinds import IndexKind
from embedder.index.contract.points import CollectionInfo, Points, Query

SEARCH_ROWS = 1000
"""The fixed cost of a query, in vectors compared with it."""

FILTER_ROWS = 10
"""The cost of evaluating a filter for a row, in vectors compared with a query."""

GRAPH_ROWS = 2000
"""Upper bound on the vectors of a graph that are compared with a query."""

PROBED = 8
"""A search probes one in this many inverted lists."""

ROW_RETURNED = 5
"""The cost of reading, checking and returning a row, in rows that a filter evaluates."""

ROW_BYTES = 1000
"""The fixed cost of writing or deleting a row, in bytes."""

SCANNED_BYTES = 100
"""The cost of evaluating the filter of a deletion for a row, in bytes."""


def search_price(queries: Sequence[Query], collection: CollectionInfo | None) -> int:
    """Return the price of the queries of one collection; None stands for a small one.

    A filter is evaluated once for all queries that have it.
    """
    if collection is None:
        return len(queries)
    sealed = max(0, collection.count - collection.pending)
    if collection.serving == IndexKind.HNSW:
        sealed = min(sealed, GRAPH_ROWS)
    elif collection.serving != IndexKind.FLAT:
        sealed //= PROBED
    compared = collection.pending + sealed
    filters = {query.filter for query in queries} - {None}
    rows = len(queries) * compared + len(filters) * FILTER_ROWS * collection.count
    return len(queries) + rows // SEARCH_ROWS


def upsert_price(points: Points) -> int:
    """Return the price, in bytes, of writing points; metadata counts as JSON."""
    texts = sum(len(text) for text in points.texts if text is not None)
    return (
        ROW_BYTES * len(points.ids)
        + int(points.vectors.nbytes)
        + texts
        + _metadata_bytes(points.metadata)
    )


def _metadata_bytes(metadata: Sequence[dict[str, Any]]) -> int:
    # This runs on the event loop: orjson is fast, the json module takes a second for 16 MiB.
    try:
        return len(orjson.dumps(metadata))
    except TypeError:
        return 0  # the write itself refuses metadata that is not JSON
