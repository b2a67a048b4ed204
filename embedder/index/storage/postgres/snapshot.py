"""The rows of one shard as one transaction sees them; every row is checked when it is read."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from embedder.core.storage_errors import StorageDamaged
from embedder.index.contract.sparse import SparseVector
from embedder.index.sparse.scanning import SparseScan
from embedder.index.storage.postgres.collection_table import (
    COLUMNS,
    as_collection,
    decoded,
    encoded,
)
from embedder.index.storage.postgres.rows.sparse_rows import SINCE_VERSION, PostgresSparse
from embedder.index.storage.records import (
    PAGE_CHARACTERS,
    PAGE_POINTS,
    CollectionRow,
    OutdatedPoint,
)
from embedder.index.storage.row_encoding import DISAGREE, EncodedRows, check_payload, decode_vectors

if TYPE_CHECKING:
    from embedder.index.storage.postgres.connection.limited_connection import LimitedConnection

CHUNK_ROWS = 2048

NAMED = f"SELECT {COLUMNS} FROM embedder.collections WHERE shard = %s AND name IS NOT NULL"  # noqa: S608 - constants
_FIND = f"{NAMED} AND name = %s"
_NAMED_SO = f"{NAMED} AND name = ANY(%b)"
_DELETED = "SELECT identity FROM embedder.deleted WHERE shard = %s AND identity = ANY(%b)"
_VERSION = "SELECT version FROM embedder.meta"
_CHUNK = """
SELECT p.pk, p.seq, p.crc, p.id, p.text, p.metadata, v.crc, v.vector
FROM embedder.points AS p LEFT JOIN embedder.vectors AS v USING (collection, pk)
WHERE p.collection = %s AND p.pk > %s ORDER BY p.pk LIMIT %s
"""
_WITHOUT_TEXT = "SELECT count(*) FROM embedder.points WHERE collection = %s AND text IS NULL"
_OUTDATED = """
SELECT o.pk, o.seq, o.id, o.text, o.metadata, o.crc FROM (
    SELECT p.*, sum(octet_length(p.text)) OVER (
        ORDER BY p.pk ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before
    FROM embedder.points AS p
    WHERE p.collection = %s AND p.pk > %s AND p.text IS NOT NULL AND NOT EXISTS (
        SELECT FROM embedder.points AS s
        WHERE s.collection = %s AND s.id = p.id AND s.seq = p.seq)
    ORDER BY p.pk LIMIT %s) AS o
WHERE o.before IS NULL OR o.before <= %s ORDER BY o.pk
"""


class PostgresSnapshot:
    """Implements `Snapshot` on a connection whose caller has begun the transaction."""

    def __init__(self, db: LimitedConnection, shard: int, location: str) -> None:
        self.db = db
        self.history = db.history
        self.shard = shard
        self.location = location

    def rows(self, query: str, *parameters: object) -> list[tuple[Any, ...]]:
        """Return all rows of a query, sent and received in binary form."""
        return self.db.fetched(self.db.execute(query, parameters, binary=True))

    def collections(self, names: Collection[str] | None = None) -> list[CollectionRow]:
        """Return the collections of these names; None: all with a name, also those staged."""
        if names is None:
            found = self.rows(NAMED, self.shard)
        else:
            found = self.rows(_NAMED_SO, self.shard, [one.encode() for one in names])
        return [as_collection(row, self.location) for row in found]

    def find_collection(self, name: str) -> CollectionRow | None:
        """Return the collection of this name, or None."""
        found = self.rows(_FIND, self.shard, encoded(name))
        return as_collection(found[0], self.location) if found else None

    def deleted_among(self, identities: Sequence[str]) -> list[str]:
        """Return those identities that are recorded as deleted, in the given order."""
        found = self.rows(_DELETED, self.shard, [one.encode() for one in identities])
        deleted = {decoded(one) for (one,) in found}
        return [one for one in identities if one in deleted]

    def count_without_text(self, collection: int) -> int:
        """Return how many points have no text."""
        ((count,),) = self.rows(_WITHOUT_TEXT, collection)
        return int(count)

    def sparse_points(self, collection: int) -> int:
        """Return how many points have a sparse vector."""
        rows = self._stored_sparse()
        totals = None if rows is None else rows.totals(collection)
        return 0 if totals is None else totals.points

    def outdated(self, source: int, staged: int, after: int) -> list[OutdatedPoint]:
        """Return a page of the points with a text that have no staged copy of the same seq."""
        found = self.rows(_OUTDATED, source, after, staged, PAGE_POINTS, PAGE_CHARACTERS)
        points = []
        for pk, seq, name, text, metadata, crc in found:
            shown = (decoded(name), decoded(text))
            check_payload(self.location, *shown, metadata, (seq, crc))
            points.append(OutdatedPoint(pk, seq, *shown))
        return points

    def scan(self, row: CollectionRow) -> Iterator[EncodedRows]:
        """Yield all points of a collection in chunks, by ascending pk.

        Every chunk keeps its checksums, so a copy is never damaged.

        Raises:
            StorageDamaged: a row fails its checksum, or points are missing.
        """
        after, count = 0, 0
        sparse = SparseScan(self._stored_sparse(), self.location, row.id)
        while chunk := self.rows(_CHUNK, row.id, after, CHUNK_ROWS):
            pks = [after, *(stored[0] for stored in chunk)]
            if any(pk >= following for pk, following in pairwise(pks)):
                raise StorageDamaged(self.location, DISAGREE, row.name)
            yield _encoded(self.location, chunk, row.width or 0, sparse.of(pks[1:]))
            after, count = chunk[-1][0], count + len(chunk)
        if count != row.count:
            problem = f"{count} of {row.count} points are there"
            raise StorageDamaged(self.location, problem, row.name)
        sparse.check_end()

    def _stored_sparse(self) -> PostgresSparse | None:
        ((version,),) = self.rows(_VERSION)
        if version < SINCE_VERSION:
            return None
        return PostgresSparse(self.location, lambda query, given: self.rows(query, *given))


def _encoded(
    location: str,
    chunk: list[tuple[Any, ...]],
    width: int,
    sparse: list[SparseVector | None],
) -> EncodedRows:
    _, seqs, stored, names, given, metadata, vector_crcs, blobs = (
        list(column) for column in zip(*chunk, strict=True)
    )
    ids = [decoded(one) for one in names]
    texts = [None if one is None else decoded(one) for one in given]
    checksums = [
        check_payload(location, name, text, value, sealed)
        for name, text, value, *sealed in zip(ids, texts, metadata, seqs, stored, strict=True)
    ]
    vectors = decode_vectors(location, ids, blobs, vector_crcs, width)
    rows = np.ascontiguousarray(vectors).data.cast("B")
    views = [rows[start : start + 4 * width] for start in range(0, len(rows), 4 * width)]
    return EncodedRows(ids, texts, metadata, checksums, views, vector_crcs, vectors, sparse)
