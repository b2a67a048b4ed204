"""The rows that one write reads and changes, while it holds the locks of their collections.

Writes of all processes to one collection are ordered by the lock of its row: a sequence number is
assigned under the lock, and the lock is released by the commit, so that no reader sees a number
before all smaller ones. The level of isolation is READ COMMITTED: each statement behind the lock
sees the rows of the writes before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from threading import Event
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from embedder.core.storage_errors import StaleCollection
from embedder.core.types import Vectors
from embedder.index.contract.filters import Filter
from embedder.index.contract.limits import MAX_DELETED
from embedder.index.contract.points import Spec
from embedder.index.contract.sparse import SparseVector
from embedder.index.lexical.text_index import TextTotals, index_points
from embedder.index.sparse.sparse_index import store_vectors
from embedder.index.storage.postgres.collection_table import (
    INSERT,
    UPDATE,
    encoded,
    update_parameters,
)
from embedder.index.storage.postgres.filter_sql import to_sql
from embedder.index.storage.postgres.locked_collections import LockedCollections
from embedder.index.storage.postgres.point_rows import (
    NewRows,
    copied_rows,
    delete_rows,
    find_chunks,
    put_points,
    put_vectors,
)
from embedder.index.storage.postgres.rows.sparse_rows import PostgresSparse
from embedder.index.storage.postgres.rows.text_rows import PostgresTexts
from embedder.index.storage.postgres.schema import check_version
from embedder.index.storage.postgres.snapshot import PostgresSnapshot
from embedder.index.storage.records import CollectionRow, OutdatedPoint, new_collection
from embedder.index.storage.row_encoding import EncodedRows, versioned

if TYPE_CHECKING:
    from embedder.index.storage.postgres.connection.limited_connection import LimitedConnection

_LOCK_SHARD = """
SELECT (SELECT version FROM embedder.meta) FROM embedder.shards WHERE number = %s FOR UPDATE
"""
_PKS = """
SELECT p.pk FROM unnest(%b::bytea[]) AS given(id) CROSS JOIN LATERAL (
    SELECT pk FROM embedder.points WHERE collection = %s AND id = given.id LIMIT 1) AS p
ORDER BY p.pk
"""
_REMEMBER = "INSERT INTO embedder.deleted(shard, identity) VALUES (%s, %s) ON CONFLICT DO NOTHING"
_FORGET = """
DELETE FROM embedder.deleted WHERE shard = %s AND at <= (
    SELECT at FROM embedder.deleted WHERE shard = %s ORDER BY at DESC OFFSET %s LIMIT 1)
"""
_CURRENT = """
SELECT pk, seq, id, text, metadata FROM embedder.points
WHERE collection = %s AND pk = ANY(%b) AND text IS NOT NULL ORDER BY pk
"""
_COPIES = """
SELECT s.pk FROM embedder.points AS p JOIN embedder.points AS s ON s.id = p.id
WHERE s.collection = %s AND p.collection = %s AND
"""
_OF_CHOSEN = f"{_COPIES} p.pk = ANY(%b)"
_OF_TEXTLESS = f"{_COPIES} p.text IS NULL"


class PostgresTransaction(PostgresSnapshot):
    """Implements `Transaction`; its caller begins and ends the transaction.

    ``writer`` is the number of this process in the table of writers, and ``has_unnamed`` is set
    when a collection has lost its name, or has none yet.
    """

    def __init__(
        self, db: LimitedConnection, shard: int, location: str, writer: int, has_unnamed: Event
    ) -> None:
        super().__init__(db, shard, location)
        statements = (lambda query, given: self.rows(query, *given)), db.execute
        self.texts = PostgresTexts(*statements)
        self.sparse = PostgresSparse(location, *statements)
        self.writer = writer
        self._has_unnamed = has_unnamed
        self.stored = self.deleted = 0
        """How many points this transaction has stored and deleted."""
        self.locked = LockedCollections(db, shard, location)

    def find_collection(self, name: str) -> CollectionRow | None:
        """Return the collection of this name, or None; no other write changes it meanwhile.

        Raises:
            NewerFormat: a later version has migrated the tables.
        """
        return self.locked.find(name)

    def insert_collection(self, name: str | None, spec: Spec) -> CollectionRow:
        """Insert an empty collection; without a name, no reader finds it.

        Raises:
            StaleCollection: the collection of this identity was deleted.
            psycopg.errors.UniqueViolation: another process has taken the name.
        """
        self._lock_shard()
        if spec.identity is not None and self.deleted_among([spec.identity]):
            raise StaleCollection(str(name))
        row = new_collection(name, spec)
        own = (self.shard, row.uuid, row.metric.value, row.kind.value, self.writer)
        ((number,),) = self.rows(INSERT, *own)
        self.texts.put_totals(TextTotals(number))
        return self.update_collection(replace(row, id=number))

    def update_collection(self, row: CollectionRow) -> CollectionRow:
        """Store all fields of the collection with this number, and return ``row``."""
        self._update(row)
        return row

    def delete_collection(self, row: CollectionRow) -> None:
        """Remove the name of a collection, and record its identity as deleted."""
        self._lock_shard()
        self.db.execute(_REMEMBER, (self.shard, encoded(row.identity)))
        self.db.execute(_FORGET, (self.shard, self.shard, MAX_DELETED))
        self.update_collection(replace(row, name=None))

    def find_pks(self, collection: int, ids: Sequence[str]) -> list[int]:
        """Return the pks of the stored points among distinct ids, in ascending order."""
        return [pk for (pk,) in self.rows(_PKS, [one.encode() for one in ids], collection)]

    def matching_pks(self, collection: int, condition: Filter) -> list[int]:
        """Return the pks of all points that meet a filter, in ascending order."""
        sql, parameters = to_sql(condition, "fields")
        # The SQL text contains no client input: all values are parameters.
        query = f"SELECT pk FROM embedder.points WHERE collection = %(own)s AND {sql} ORDER BY pk"  # noqa: S608
        found = self.db.execute(query, parameters | {"own": collection})
        return [pk for (pk,) in self.db.fetched(found)]

    def chunk_pks(self, collection: int, documents: Sequence[str]) -> list[int]:
        """Return the pks of the chunks of these documents, in any order."""
        return find_chunks(self.db, collection, documents)

    def upsert(
        self, row: CollectionRow, rows: EncodedRows
    ) -> tuple[NDArray[np.int64], CollectionRow]:
        """Store points as one write; return their pks int64[n] and the updated collection.

        Raises:
            InvalidVector: the collection has another width.
        """
        updated = row.next_write(rows.vectors.shape[1])
        sequence = updated.sequence
        new = NewRows(
            rows.ids,
            [sequence] * len(rows),
            [versioned(crc, sequence) for crc in rows.checksums],
            rows.texts,
            rows.metadata,
            rows.vector_checksums,
            rows.blobs,
        )
        pks, updated = self._put(updated, new, rows.sparse)
        return np.array(pks, np.int64), updated

    def delete(self, row: CollectionRow, pks: Sequence[int]) -> CollectionRow:
        """Delete stored points as one write, and return the updated collection."""
        if not pks:
            return row
        sequence = row.sequence + 1
        self._index(row.id, pks, none := [None] * len(pks), none)
        deleted = delete_rows(self.db, row.id, sequence, pks)
        self.deleted += deleted
        return self.update_collection(replace(row, sequence=sequence, count=row.count - deleted))

    def fill_staged(
        self,
        source: CollectionRow,
        staged: CollectionRow,
        points: Sequence[OutdatedPoint],
        vectors: Vectors,
        sparse: Sequence[SparseVector | None],
        *,
        skip_outdated: bool,
    ) -> None:
        """Store copies of points of ``source`` with other vectors float32[n, width]."""
        given = np.ascontiguousarray(vectors, np.float32)
        blobs = {point.pk: row.tobytes() for point, row in zip(points, given, strict=True)}
        seqs = {point.pk: point.seq for point in points}
        found = self.rows(_CURRENT, source.id, list(seqs))
        kept = [one for one in found if not skip_outdated or one[1] == seqs[one[0]]]
        if not kept:
            return
        of = [one[0] for one in kept]
        new = copied_rows(kept, seqs, blobs)
        weights = {point.pk: one for point, one in zip(points, sparse, strict=True)}
        self._put(staged, new, [weights[pk] for pk in of])

    def copies(self, source: int, staged: int, pks: Sequence[int]) -> list[int]:
        """Return the pks of the staged copies of these points of ``source``."""
        return [pk for (pk,) in self.rows(_OF_CHOSEN, staged, source, list(pks))]

    def copies_without_text(self, source: int, staged: int) -> list[int]:
        """Return the pks of the staged copies of the points of ``source`` that have no text."""
        return [pk for (pk,) in self.rows(_OF_TEXTLESS, staged, source)]

    def _put(
        self, row: CollectionRow, rows: NewRows, sparse: Sequence[SparseVector | None]
    ) -> tuple[list[int], CollectionRow]:
        """Store points; return their pks and the collection, of which the count changes."""
        pks, added = put_points(self.db, row.id, rows)
        updated = replace(row, count=row.count + added)
        put_vectors(self.db, row.id, pks, rows)
        self._index(row.id, pks, rows.texts, sparse)
        self.stored += len(pks)
        self._update(updated, used=len(pks))
        return pks, updated

    def _index(
        self,
        collection: int,
        pks: Sequence[int],
        texts: Sequence[str | None],
        sparse: Sequence[SparseVector | None],
    ) -> None:
        index_points(self.texts, collection, pks, texts)
        store_vectors(self.sparse, collection, pks, sparse)

    def _update(self, row: CollectionRow, used: int = 0) -> None:
        """Store a collection of which ``used`` more pks are assigned."""
        self.db.execute(UPDATE, update_parameters(row, used))
        self.locked.replace(row)
        if row.name is None:
            self._has_unnamed.set()

    def _lock_shard(self) -> None:
        """Let no other process create or delete collections of this shard meanwhile."""
        for (version,) in self.rows(_LOCK_SHARD, self.shard):
            check_version(version, self.location)
