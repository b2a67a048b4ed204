"""The tables of sparse vectors: a row for each point, and blocks of postings."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from embedder.index.contract.sparse import SparseVector
from embedder.index.lexical.blocks import BlockKey, checked, checksum
from embedder.index.sparse.sparse_index import SparseTotals
from embedder.index.sparse.weight_blocks import (
    WeightPostings,
    by_id,
    checked_vectors,
    row_checksum,
)

# A write replaces the blocks of its ids: the free space lets their new versions stay on the page.
SPARSE = """
CREATE TABLE embedder.sparse_totals(
    collection bigint PRIMARY KEY, points bigint NOT NULL, indexed bigint NOT NULL
) WITH (fillfactor = 50);
CREATE TABLE embedder.sparse_vectors(
    collection bigint NOT NULL, pk bigint NOT NULL, crc bigint NOT NULL, weights bytea NOT NULL,
    PRIMARY KEY (collection, pk));
CREATE TABLE embedder.sparse_postings(
    collection bigint NOT NULL, block bigint NOT NULL, term text NOT NULL, crc bigint NOT NULL,
    entries bytea NOT NULL, PRIMARY KEY (collection, block, term)) WITH (fillfactor = 70);
"""

_TOTALS = "SELECT points, indexed FROM embedder.sparse_totals WHERE collection = %s"
_PUT_TOTALS = """
INSERT INTO embedder.sparse_totals(collection, points, indexed)
VALUES (%s::bigint, %s::bigint, %s::bigint)
ON CONFLICT (collection) DO UPDATE SET points = excluded.points, indexed = excluded.indexed
RETURNING 1
"""
_VECTORS = """
SELECT v.pk, v.crc, v.weights FROM unnest(%b::bigint[]) AS given(pk) CROSS JOIN LATERAL (
    SELECT * FROM embedder.sparse_vectors WHERE collection = %s AND pk = given.pk LIMIT 1) AS v
"""
_AFTER = """
SELECT pk, crc, weights FROM embedder.sparse_vectors WHERE collection = %s AND pk > %s
ORDER BY pk LIMIT %s
"""
_PUT_VECTORS = """
INSERT INTO embedder.sparse_vectors(collection, pk, crc, weights)
SELECT %s, n.pk, n.crc, n.weights
FROM unnest(%b::bigint[], %b::bigint[], %b::bytea[]) AS n(pk, crc, weights)
ON CONFLICT (collection, pk) DO UPDATE SET crc = excluded.crc, weights = excluded.weights
RETURNING 1
"""
_DELETE_VECTORS = """
DELETE FROM embedder.sparse_vectors WHERE collection = %s AND pk = ANY(%b::bigint[]) RETURNING 1
"""
_BLOCKS = """
SELECT p.block, p.term, p.crc, p.entries
FROM unnest(%b::bigint[], %b::text[]) AS given(block, term) CROSS JOIN LATERAL (
    SELECT * FROM embedder.sparse_postings
    WHERE collection = %s AND block = given.block AND term = given.term LIMIT 1) AS p
"""
_PUT_BLOCKS = """
INSERT INTO embedder.sparse_postings(collection, block, term, crc, entries)
SELECT %s, n.block, n.term, n.crc, n.entries
FROM unnest(%b::bigint[], %b::text[], %b::bigint[], %b::bytea[]) AS n(block, term, crc, entries)
ON CONFLICT (collection, block, term) DO UPDATE SET crc = excluded.crc, entries = excluded.entries
RETURNING 1
"""
_DELETE_BLOCKS = """
DELETE FROM embedder.sparse_postings AS p
USING unnest(%b::bigint[], %b::text[]) AS given(block, term)
WHERE p.collection = %s AND p.term = given.term AND p.block = given.block RETURNING 1
"""
_POSTINGS = """
WITH RECURSIVE given AS (SELECT %s::bigint AS own, %b::text[] AS terms), blocks(own, number) AS (
    SELECT own, (SELECT min(block) FROM embedder.sparse_postings WHERE collection = own) FROM given
    UNION ALL
    SELECT own, (
        SELECT min(block) FROM embedder.sparse_postings WHERE collection = own AND block > number)
    FROM blocks WHERE number IS NOT NULL)
SELECT p.block, p.term, p.crc, p.entries
FROM given CROSS JOIN blocks CROSS JOIN LATERAL unnest(given.terms) AS one(term)
CROSS JOIN LATERAL (
    SELECT * FROM embedder.sparse_postings
    WHERE collection = blocks.own AND block = blocks.number AND term = one.term LIMIT 1) AS p
"""
_CLEAR = """
DELETE FROM embedder.sparse_postings WHERE ctid = ANY(ARRAY(
    SELECT ctid FROM embedder.sparse_postings WHERE collection = %s LIMIT %s)) RETURNING 1
"""

Fetch = Callable[[str, Sequence[object]], list[tuple[Any, ...]]]
"""Runs a statement with its parameters, and returns its rows in binary form."""


class PostgresSparse:
    """Implements `SparseRows`, and reads postings, by ``fetch``."""

    def __init__(self, fetch: Fetch, location: str) -> None:
        self._fetch = fetch
        self._location = location

    def totals(self, collection: int) -> SparseTotals | None:
        """Return the totals of a collection; None if none of its points had a sparse vector."""
        found = self._fetch(_TOTALS, (collection,))
        return SparseTotals(collection, *found[0]) if found else None

    def put_totals(self, totals: SparseTotals) -> None:
        """Store the totals of a collection."""
        self._fetch(_PUT_TOTALS, (totals.collection, totals.points, totals.indexed))

    def vectors(self, collection: int, pks: Sequence[int]) -> dict[int, SparseVector]:
        """Return the stored vectors among the pks."""
        return checked_vectors(self._location, self._fetch(_VECTORS, (list(pks), collection)))

    def vectors_after(self, collection: int, pk: int, most: int) -> dict[int, SparseVector]:
        """Return up to ``most`` vectors of the points with the next higher pks, ascending."""
        return checked_vectors(self._location, self._fetch(_AFTER, (collection, pk, most)))

    def put_vectors(self, collection: int, vectors: Mapping[int, SparseVector]) -> None:
        """Insert or replace vectors by pk."""
        if vectors:
            rows = [vector.encoded() for vector in vectors.values()]
            crcs = [row_checksum(pk, row) for pk, row in zip(vectors, rows, strict=True)]
            self._fetch(_PUT_VECTORS, (collection, list(vectors), crcs, rows))

    def delete_vectors(self, collection: int, pks: Sequence[int]) -> None:
        """Delete the vectors of these pks."""
        if pks:
            self._fetch(_DELETE_VECTORS, (collection, list(pks)))

    def clear_blocks(self, collection: int, most: int) -> bool:
        """Delete up to ``most`` blocks; return False if there were none."""
        return bool(self._fetch(_CLEAR, (collection, most)))

    def blocks(self, collection: int, keys: Collection[BlockKey]) -> dict[BlockKey, bytes]:
        """Return the stored blocks among the keys."""
        found = self._fetch(_BLOCKS, (*_columns(keys), collection)) if keys else []
        return {
            (number, term): checked((number, term), entries, crc)
            for number, term, crc, entries in found
        }

    def put_blocks(self, collection: int, blocks: Mapping[BlockKey, bytes]) -> None:
        """Insert or replace blocks, and delete those that are empty."""
        kept = {key: entries for key, entries in blocks.items() if entries}
        if kept:
            crcs = [checksum(*one) for one in kept.items()]
            self._fetch(_PUT_BLOCKS, (collection, *_columns(kept), crcs, list(kept.values())))
        if emptied := blocks.keys() - kept.keys():
            self._fetch(_DELETE_BLOCKS, (*_columns(emptied), collection))

    def postings(self, collection: int, ids: Sequence[int]) -> dict[int, WeightPostings]:
        """Return the postings of distinct ids that some point has.

        Raises:
            DamagedBlock: a block fails its checksum.
        """
        return by_id(self._fetch(_POSTINGS, (collection, [str(one) for one in ids])))


def _columns(keys: Collection[BlockKey]) -> tuple[list[int], list[str]]:
    return [number for number, _ in keys], [term for _, term in keys]
