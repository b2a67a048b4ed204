"""Estimates the cost of searches, reads and writes of the index before they run.

The unit of a search is a search of a small collection, of a read a row that a filter evaluates, and
of a write a byte. Prices are compared with measured rates, so only their proportions matter. A
search takes less than its price if its filter keeps points near the query, and more if it keeps
those far from it, which is not known before the search.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from embedder.index.contract.kinds import OVERFETCH, IndexKind
from embedder.index.contract.points import CollectionInfo, Points, Query
from embedder.index.contract.sparse_queries import SparseQuery
from embedder.index.contract.texts import TextQuery

SEARCH_ROWS = 1000
"""The fixed cost of a query, in vectors compared with it."""

FILTER_ROWS = 10
"""The cost of evaluating a filter for a row, in vectors compared with a query."""

LEAST_EF = 64
EF_PER_CANDIDATE = 3
"""The efSearch of a graph, at least and for each wanted neighbour.

The recall of 128 and 256 was 0.96 with three, and 0.94 and 0.93 with two.
"""
GRAPH_STEP = 35
"""The cost of a unit of efSearch, in vectors compared with a query."""

PROBED = 8
"""A search probes one in this many inverted lists."""
READ_PER_CANDIDATE = 60
"""Vectors of inverted lists that are compared for each wanted neighbour, at least.

The recall of 256 was 0.98 with it, and 0.95 with half; that of 1,000 was 0.85 with an eighth of
60,000 vectors.
"""

STORED_ROW = 150
"""The cost of reading a vector from the store and scoring it, in vectors compared with a query."""
READ_FOR_FILTER = {IndexKind.IVF_SQ8: 1_024, IndexKind.IVF_PQ: 16_384}
"""Vectors that a filter far from the queries makes a search read from the store.

It reads up to four times as many, and for other filters few.
"""
PASS_SHARE = 2
"""One in this many vectors is compared with a query that has a filter: from few to all."""

TEXTS_SHARE = 4
"""One in this many texts is assumed to have a term of a query by words, or an id of one by sparse
weights; a term of a text takes about as long as a compared vector, and an id about half as long.
"""

ROW_RETURNED = 5
"""The cost of reading, checking and returning a row, in rows that a filter evaluates."""

ROW_BYTES = 1000
"""The fixed cost of writing or deleting a row, in bytes."""

SPARSE_BYTES = 16
"""The bytes of an id of a sparse vector: 8 in its row, and 8 in the postings of the id."""

SCANNED_BYTES = 100
"""The cost of evaluating the filter of a deletion for a row, in bytes."""


def search_price(queries: Sequence[Query], collection: CollectionInfo | None) -> int:
    """Return the price of the queries of one collection; None stands for a small one.

    A filter is evaluated once for all queries that have it, and they share the vectors that they
    read from the store because of it.
    """
    if collection is None:
        return len(queries)
    read = min(READ_FOR_FILTER.get(IndexKind(collection.serving), 0), collection.count)
    a_filter = FILTER_ROWS * collection.count + STORED_ROW * read
    filters = {query.filter for query in queries} - {None}
    rows = sum(_compared(query, collection) for query in queries) + len(filters) * a_filter
    return len(queries) + rows // SEARCH_ROWS


def posting_search_price(
    queries: Sequence[TextQuery] | Sequence[SparseQuery], collection: CollectionInfo | None
) -> int:
    """Return the price of queries by words or sparse weights of one collection; None: a small one.

    How many points have a term or an id is known after the search alone, so that a share of all is
    assumed.
    """
    if collection is None:
        return len(queries)
    filters = {query.filter for query in queries} - {None}
    read = len(queries) * collection.count // TEXTS_SHARE
    return len(queries) + (read + len(filters) * FILTER_ROWS * collection.count) // SEARCH_ROWS


def _compared(query: Query, collection: CollectionInfo) -> int:
    """Return how many vectors are compared with a query, stored ones counted by their cost."""
    kind = IndexKind(collection.serving)
    sealed = max(0, collection.count - collection.pending)
    if kind is IndexKind.FLAT:
        return collection.pending + sealed
    if kind is IndexKind.HNSW:
        compared = GRAPH_STEP * max(LEAST_EF, EF_PER_CANDIDATE * query.top_k)
    else:
        compared = max(sealed // PROBED, READ_PER_CANDIDATE * query.top_k)
    if query.filter is not None:
        compared = max(compared, sealed // PASS_SHARE)
    stored = min(sealed, OVERFETCH.get(kind, 0) * query.top_k)
    return collection.pending + min(compared, sealed) + STORED_ROW * stored


def upsert_price(points: Points) -> int:
    """Return the price, in bytes, of writing points; metadata counts as JSON."""
    texts = sum(len(text) for text in points.texts if text is not None)
    ids = sum(len(vector) for vector in points.sparse if vector is not None)
    return (
        ROW_BYTES * len(points.ids)
        + int(points.vectors.nbytes)
        + texts
        + SPARSE_BYTES * ids
        + _metadata_bytes(points.metadata)
    )


def _metadata_bytes(metadata: Sequence[dict[str, Any]]) -> int:
    # This runs on the event loop: orjson is fast, the json module takes a second for 16 MiB.
    try:
        return len(orjson.dumps(metadata))
    except TypeError:
        return 0  # the write itself refuses metadata that is not JSON
