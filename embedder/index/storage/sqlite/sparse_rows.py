"""The tables of sparse vectors: a row for each point, and blocks of postings."""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence

import orjson

from embedder.index.contract.sparse import SparseVector
from embedder.index.lexical.blocks import BlockKey, checked, checksum
from embedder.index.sparse.sparse_index import SparseTotals
from embedder.index.sparse.weight_blocks import (
    WeightPostings,
    by_id,
    checked_vectors,
    row_checksum,
)

SPARSE = """
CREATE TABLE sparse_totals(
    collection INTEGER PRIMARY KEY, points INTEGER NOT NULL, indexed INTEGER NOT NULL);
CREATE TABLE sparse_vectors(
    collection INTEGER NOT NULL, pk INTEGER NOT NULL, crc INTEGER NOT NULL, weights BLOB NOT NULL,
    PRIMARY KEY (collection, pk)) WITHOUT ROWID;
CREATE TABLE sparse_postings(
    collection INTEGER NOT NULL, block INTEGER NOT NULL, term TEXT NOT NULL, crc INTEGER NOT NULL,
    entries BLOB NOT NULL, PRIMARY KEY (collection, block, term)) WITHOUT ROWID;
"""

_TOTALS = "SELECT points, indexed FROM sparse_totals WHERE collection = ?"
_VECTORS = """
SELECT v.pk, v.crc, v.weights FROM json_each(?) AS j CROSS JOIN sparse_vectors AS v
ON v.collection = ? AND v.pk = j.value
"""
_AFTER = """
SELECT pk, crc, weights FROM sparse_vectors WHERE collection = ? AND pk > ? ORDER BY pk LIMIT ?
"""
_BLOCKS = """
SELECT p.term, p.crc, p.entries FROM json_each(?) AS j CROSS JOIN sparse_postings AS p
ON p.collection = ? AND p.block = ? AND p.term = j.value
"""
_POSTINGS = """
WITH RECURSIVE blocks(number) AS (
    SELECT min(block) FROM sparse_postings WHERE collection = :own
    UNION ALL
    SELECT (
        SELECT min(block) FROM sparse_postings WHERE collection = :own AND block > blocks.number)
    FROM blocks WHERE number IS NOT NULL)
SELECT p.block, p.term, p.crc, p.entries
FROM blocks CROSS JOIN json_each(:terms) AS j CROSS JOIN sparse_postings AS p
ON p.collection = :own AND p.block = blocks.number AND p.term = j.value
"""
_CLEAR = (
    "DELETE FROM sparse_postings WHERE (collection, block, term) IN ("
    "SELECT collection, block, term FROM sparse_postings WHERE collection = ? LIMIT ?)"
)


class SqliteSparse:
    """Implements `SparseRows`, and reads postings, on a connection."""

    def __init__(self, db: sqlite3.Connection, location: str) -> None:
        self._db = db
        self._location = location

    def totals(self, collection: int) -> SparseTotals | None:
        """Return the totals of a collection; None if none of its points had a sparse vector."""
        found = self._db.execute(_TOTALS, (collection,)).fetchone()
        return None if found is None else SparseTotals(collection, *found)

    def put_totals(self, totals: SparseTotals) -> None:
        """Store the totals of a collection."""
        values = (totals.collection, totals.points, totals.indexed)
        self._db.execute("INSERT OR REPLACE INTO sparse_totals VALUES (?, ?, ?)", values)

    def vectors(self, collection: int, pks: Sequence[int]) -> dict[int, SparseVector]:
        """Return the stored vectors among the pks."""
        return checked_vectors(self._location, self._db.execute(_VECTORS, (_json(pks), collection)))

    def vectors_after(self, collection: int, pk: int, most: int) -> dict[int, SparseVector]:
        """Return up to ``most`` vectors of the points with the next higher pks, ascending."""
        return checked_vectors(self._location, self._db.execute(_AFTER, (collection, pk, most)))

    def put_vectors(self, collection: int, vectors: Mapping[int, SparseVector]) -> None:
        """Insert or replace vectors by pk."""
        rows = [(pk, vector.encoded()) for pk, vector in vectors.items()]
        self._db.executemany(
            "INSERT OR REPLACE INTO sparse_vectors VALUES (?, ?, ?, ?)",
            [(collection, pk, row_checksum(pk, row), row) for pk, row in rows],
        )

    def delete_vectors(self, collection: int, pks: Sequence[int]) -> None:
        """Delete the vectors of these pks."""
        rows = [(collection, pk) for pk in pks]
        self._db.executemany("DELETE FROM sparse_vectors WHERE collection = ? AND pk = ?", rows)

    def clear_blocks(self, collection: int, most: int) -> bool:
        """Delete up to ``most`` blocks; return False if there were none."""
        return self._db.execute(_CLEAR, (collection, most)).rowcount > 0

    def blocks(self, collection: int, keys: Collection[BlockKey]) -> dict[BlockKey, bytes]:
        """Return the stored blocks among the keys."""
        terms: defaultdict[int, list[str]] = defaultdict(list)
        for number, term in keys:
            terms[number].append(term)
        return {
            (number, term): checked((number, term), entries, crc)
            for number, some in terms.items()
            for term, crc, entries in self._db.execute(_BLOCKS, (_json(some), collection, number))
        }

    def put_blocks(self, collection: int, blocks: Mapping[BlockKey, bytes]) -> None:
        """Insert or replace blocks, and delete those that are empty."""
        self._db.executemany(
            "INSERT OR REPLACE INTO sparse_postings VALUES (?, ?, ?, ?, ?)",
            (
                (collection, *key, checksum(key, entries), entries)
                for key, entries in blocks.items()
                if entries
            ),
        )
        self._db.executemany(
            "DELETE FROM sparse_postings WHERE collection = ? AND block = ? AND term = ?",
            ((collection, *key) for key, entries in blocks.items() if not entries),
        )

    def postings(self, collection: int, ids: Sequence[int]) -> dict[int, WeightPostings]:
        """Return the postings of distinct ids that some point has.

        Raises:
            DamagedBlock: a block fails its checksum.
        """
        given = {"own": collection, "terms": _json([str(one) for one in ids])}
        return by_id(self._db.execute(_POSTINGS, given))


def _json(values: Sequence[str] | Sequence[int]) -> str:
    return orjson.dumps(list(values)).decode()
