"""The tables of sparse vectors: a row for each point, and blocks of postings."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence

from embedder.index.contract.sparse import SparseVector
from embedder.index.sparse.sparse_index import SparseTotals
from embedder.index.sparse.weight_blocks import (
    WeightPostings,
    by_id,
    checked_vectors,
    row_checksum,
)
from embedder.index.storage.sqlite.point_rows import as_json
from embedder.index.storage.sqlite.rows.posting_blocks import SqliteBlocks, table_of_blocks

SINCE_VERSION = 4
"""The first version of a file that has these tables."""

POSTINGS = "sparse_postings"
SPARSE = f"""
CREATE TABLE sparse_totals(
    collection INTEGER PRIMARY KEY, points INTEGER NOT NULL, indexed INTEGER NOT NULL);
CREATE TABLE sparse_vectors(
    collection INTEGER NOT NULL, pk INTEGER NOT NULL, crc INTEGER NOT NULL, weights BLOB NOT NULL,
    PRIMARY KEY (collection, pk)) WITHOUT ROWID;
{table_of_blocks(POSTINGS)}"""

_TOTALS = "SELECT points, indexed FROM sparse_totals WHERE collection = ?"
_VECTORS = """
SELECT v.pk, v.crc, v.weights FROM json_each(?) AS j CROSS JOIN sparse_vectors AS v
ON v.collection = ? AND v.pk = j.value
"""
_AFTER = """
SELECT pk, crc, weights FROM sparse_vectors WHERE collection = ? AND pk > ? ORDER BY pk LIMIT ?
"""
_BETWEEN = """
SELECT pk, crc, weights FROM sparse_vectors WHERE collection = ? AND pk > ? AND pk <= ?
"""
_CLEAR = (
    "DELETE FROM sparse_vectors WHERE (collection, pk) IN ("
    "SELECT collection, pk FROM sparse_vectors WHERE collection = ? LIMIT ?)"
)


class SqliteSparse(SqliteBlocks):
    """Implements `SparseRows`, and reads postings, on a connection."""

    def __init__(self, db: sqlite3.Connection, location: str) -> None:
        super().__init__(db, POSTINGS)
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
        found = self._db.execute(_VECTORS, (as_json(pks), collection))
        return checked_vectors(self._location, found)

    def vectors_after(self, collection: int, pk: int, most: int) -> dict[int, SparseVector]:
        """Return up to ``most`` vectors of the points with the next higher pks, ascending."""
        return checked_vectors(self._location, self._db.execute(_AFTER, (collection, pk, most)))

    def vectors_between(self, collection: int, after: int, last: int) -> dict[int, SparseVector]:
        """Return the vectors of the points above the pk ``after``, up to ``last``.

        Raises:
            StorageDamaged: a row fails its checksum.
        """
        found = self._db.execute(_BETWEEN, (collection, after, last))
        return checked_vectors(self._location, found)

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

    def clear(self, collection: int, most: int) -> bool:
        """Delete up to ``most`` vectors and blocks each; return False if there were none.

        The last call deletes the totals.
        """
        vectors = self._db.execute(_CLEAR, (collection, most)).rowcount
        if self.clear_blocks(collection, most) or vectors:
            return True
        self._db.execute("DELETE FROM sparse_totals WHERE collection = ?", (collection,))
        return False

    def postings(self, collection: int, ids: Sequence[int]) -> dict[int, WeightPostings]:
        """Return the postings of distinct ids that some point has.

        Raises:
            DamagedBlock: a block fails its checksum.
        """
        return by_id(self.blocks_of_terms(collection, [str(one) for one in ids]))
