"""The tables of sparse vectors: a row for each point, and blocks of postings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from embedder.index.contract.sparse import SparseVector
from embedder.index.sparse.sparse_index import SparseTotals
from embedder.index.sparse.weight_blocks import (
    WeightPostings,
    by_id,
    checked_vectors,
    row_checksum,
)
from embedder.index.storage.postgres.rows.posting_blocks import (
    Execute,
    Fetch,
    PostgresBlocks,
    read_only,
    table_of_blocks,
)

SINCE_VERSION = 3
"""The first version of the tables that has these."""

POSTINGS = "sparse_postings"
SPARSE = f"""
CREATE TABLE embedder.sparse_totals(
    collection bigint PRIMARY KEY, points bigint NOT NULL, indexed bigint NOT NULL
) WITH (fillfactor = 50);
CREATE TABLE embedder.sparse_vectors(
    collection bigint NOT NULL, pk bigint NOT NULL, crc bigint NOT NULL, weights bytea NOT NULL,
    PRIMARY KEY (collection, pk));
{table_of_blocks(POSTINGS)}"""

_TOTALS = "SELECT points, indexed FROM embedder.sparse_totals WHERE collection = %s"
_PUT_TOTALS = """
INSERT INTO embedder.sparse_totals(collection, points, indexed)
VALUES (%s, %s, %s)
ON CONFLICT (collection) DO UPDATE SET points = excluded.points, indexed = excluded.indexed
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
"""
_DELETE_VECTORS = """
DELETE FROM embedder.sparse_vectors WHERE collection = %s AND pk = ANY(%b::bigint[])
"""
_BETWEEN = """
SELECT pk, crc, weights FROM embedder.sparse_vectors WHERE collection = %s AND pk > %s AND pk <= %s
"""


class PostgresSparse(PostgresBlocks):
    """Implements `SparseRows`, and reads postings; ``execute`` is needed for changes alone."""

    def __init__(self, location: str, fetch: Fetch, execute: Execute = read_only) -> None:
        super().__init__(POSTINGS, fetch, execute)
        self._location = location

    def totals(self, collection: int) -> SparseTotals | None:
        """Return the totals of a collection; None if none of its points had a sparse vector."""
        found = self._fetch(_TOTALS, (collection,))
        return SparseTotals(collection, *found[0]) if found else None

    def put_totals(self, totals: SparseTotals) -> None:
        """Store the totals of a collection."""
        self._execute(_PUT_TOTALS, (totals.collection, totals.points, totals.indexed))

    def vectors(self, collection: int, pks: Sequence[int]) -> dict[int, SparseVector]:
        """Return the stored vectors among the pks."""
        return checked_vectors(self._location, self._fetch(_VECTORS, (list(pks), collection)))

    def vectors_after(self, collection: int, pk: int, most: int) -> dict[int, SparseVector]:
        """Return up to ``most`` vectors of the points with the next higher pks, ascending."""
        return checked_vectors(self._location, self._fetch(_AFTER, (collection, pk, most)))

    def vectors_between(self, collection: int, after: int, last: int) -> dict[int, SparseVector]:
        """Return the vectors of the points above the pk ``after``, up to ``last``.

        Raises:
            StorageDamaged: a row fails its checksum.
        """
        return checked_vectors(self._location, self._fetch(_BETWEEN, (collection, after, last)))

    def put_vectors(self, collection: int, vectors: Mapping[int, SparseVector]) -> None:
        """Insert or replace vectors by pk."""
        if vectors:
            rows = [vector.encoded() for vector in vectors.values()]
            crcs = [row_checksum(pk, row) for pk, row in zip(vectors, rows, strict=True)]
            self._execute(_PUT_VECTORS, (collection, list(vectors), crcs, rows))

    def delete_vectors(self, collection: int, pks: Sequence[int]) -> None:
        """Delete the vectors of these pks."""
        if pks:
            self._execute(_DELETE_VECTORS, (collection, list(pks)))

    def postings(self, collection: int, ids: Sequence[int]) -> dict[int, WeightPostings]:
        """Return the postings of distinct ids that some point has.

        Raises:
            DamagedBlock: a block fails its checksum.
        """
        return by_id(self.blocks_of_terms(collection, [str(one) for one in ids]))
