"""The rows that one write reads and changes, on the connection of the committer."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from embedder.core.storage_errors import StaleCollection
from embedder.core.types import Vectors
from embedder.index.contract.documents import chunk_ids, document_of
from embedder.index.contract.filters import Filter
from embedder.index.contract.points import Spec
from embedder.index.contract.sparse import SparseVector
from embedder.index.lexical.text_index import TextTotals, index_points
from embedder.index.sparse.sparse_index import give_up_blocks, store_vectors
from embedder.index.storage.records import CollectionRow, OutdatedPoint, new_collection
from embedder.index.storage.row_encoding import (
    EncodedRows,
    checksum,
    decode_metadata,
    vector_checksum,
    versioned,
)
from embedder.index.storage.sqlite.collection_table import remember_deleted, update_collection
from embedder.index.storage.sqlite.filter_sql import to_sql
from embedder.index.storage.sqlite.point_rows import (
    as_json,
    assign_pks,
    delete_rows,
    find_pks,
    put_rows,
)
from embedder.index.storage.sqlite.rows.sparse_rows import SqliteSparse
from embedder.index.storage.sqlite.rows.text_rows import SqliteTexts
from embedder.index.storage.sqlite.snapshot import SqliteSnapshot

_CURRENT = """
SELECT p.pk, p.seq, p.ext_id, p.text, p.metadata
FROM json_each(?) AS j CROSS JOIN points AS p ON p.pk = j.value
WHERE p.collection = ? AND p.text IS NOT NULL ORDER BY p.pk
"""
_CHUNKS = """
SELECT pk, metadata FROM points INDEXED BY points_by_id
WHERE collection = ? AND ext_id >= ? AND ext_id < ?
"""
_COPIES = """
SELECT s.pk FROM points AS p CROSS JOIN points AS s INDEXED BY points_by_id
ON s.collection = ? AND s.ext_id = p.ext_id
"""
_OF_CHOSEN = f"{_COPIES} WHERE p.collection = ? AND p.pk IN (SELECT value FROM json_each(?))"  # noqa: S608 - constants
_OF_TEXTLESS = f"{_COPIES} WHERE p.collection = ? AND p.text IS NULL"


class SqliteTransaction(SqliteSnapshot):
    """Implements `Transaction`; the committer begins and ends the transaction.

    Without ``indexes`` the blocks of postings of new collections are left to `posting_indexing`.
    While ``changes_blocks`` is False, a write gives up those of its collection, because it needs
    less space than one that changes them.
    """

    def __init__(self, db: sqlite3.Connection, path: Path, *, indexes: bool = True) -> None:
        super().__init__(db, path)
        self.texts = SqliteTexts(db)
        self.sparse = SqliteSparse(db, str(path))
        self.changes_blocks = True
        self._indexes = indexes

    def insert_collection(self, name: str | None, spec: Spec) -> CollectionRow:
        """Insert an empty collection under a free name; None hides it from all readers.

        Raises:
            StaleCollection: the collection of this identity was deleted.
        """
        if spec.identity is not None and self.deleted_among([spec.identity]):
            raise StaleCollection(str(name))
        row = new_collection(name, spec)
        cursor = self.db.execute(
            "INSERT INTO collections(uuid, metric, kind, sequence, count, crc) "
            "VALUES (?, ?, ?, 0, 0, 0)",
            (row.uuid, row.metric.value, row.kind.value),
        )
        assert cursor.lastrowid is not None
        if self._indexes:
            self.texts.put_totals(TextTotals(cursor.lastrowid))
        return self.update_collection(replace(row, id=cursor.lastrowid))

    def update_collection(self, row: CollectionRow) -> CollectionRow:
        """Store all fields of the collection with this number, and return ``row``."""
        return update_collection(self.db, row)

    def delete_collection(self, row: CollectionRow) -> None:
        """Remove the name of a collection, and record its identity as deleted."""
        remember_deleted(self.db, row.identity)
        self.update_collection(replace(row, name=None))

    def find_pks(self, collection: int, ids: Sequence[str]) -> list[int]:
        """Return the pks of the stored points among distinct ids, in ascending order."""
        return sorted(find_pks(self.db, collection, ids).values())

    def matching_pks(self, collection: int, condition: Filter) -> list[int]:
        """Return the pks of all points that meet a filter, in ascending order."""
        sql, parameters = to_sql(condition, "metadata")
        # The SQL text contains no client input: all values are parameters.
        query = f"SELECT pk FROM points INDEXED BY points_by_pk WHERE collection = ? AND ({sql})"  # noqa: S608
        return [pk for (pk,) in self.db.execute(query, (collection, *parameters))]

    def chunk_pks(self, collection: int, documents: Sequence[str]) -> list[int]:
        """Return the pks of the chunks of these documents, in any order."""
        return [
            pk
            for document in documents
            for pk, metadata in self.db.execute(_CHUNKS, (collection, *chunk_ids(document)))
            if document_of(decode_metadata(metadata)) == document
        ]

    def upsert(
        self, row: CollectionRow, rows: EncodedRows
    ) -> tuple[NDArray[np.int64], CollectionRow]:
        """Store points as one write; return their pks int64[n] and the updated collection.

        Raises:
            InvalidVector: the collection has another width.
        """
        updated = row.next_write(rows.vectors.shape[1])
        pks, added = assign_pks(self.db, row.id, rows.ids)
        same, seqs = [row.id] * len(rows), [updated.sequence] * len(rows)
        checksums = [versioned(crc, updated.sequence) for crc in rows.checksums]
        put_rows(
            self.db,
            zip(pks, same, rows.ids, seqs, checksums, rows.texts, rows.metadata, strict=True),
            zip(pks, rows.vector_checksums, rows.blobs, strict=True),
        )
        self._index(row.id, pks, rows.texts, rows.sparse)
        updated = replace(updated, count=updated.count + added)
        return np.array(pks, np.int64), self.update_collection(updated)

    def delete(self, row: CollectionRow, pks: Sequence[int]) -> CollectionRow:
        """Delete stored points as one write, and return the updated collection."""
        if not pks:
            return row
        none = [None] * len(pks)
        self._index(row.id, pks, none, none)
        deleted = delete_rows(self.db, pks)
        return self.update_collection(
            replace(row, sequence=row.sequence + 1, count=row.count - deleted)
        )

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
        rows = self.db.execute(_CURRENT, (as_json(list(seqs)), source.id)).fetchall()
        if skip_outdated:
            rows = [row for row in rows if row[1] == seqs[row[0]]]
        pks, added = assign_pks(self.db, staged.id, [row[2] for row in rows])
        pairs = list(zip(pks, rows, strict=True))
        put_rows(
            self.db,
            (
                (pk, staged.id, name, seqs[of], versioned(checksum(name, *rest), seqs[of]), *rest)
                for pk, (of, _, name, *rest) in pairs
            ),
            ((pk, vector_checksum(row[2], blobs[row[0]]), blobs[row[0]]) for pk, row in pairs),
        )
        weights = {point.pk: one for point, one in zip(points, sparse, strict=True)}
        self._index(staged.id, pks, [row[3] for row in rows], [weights[row[0]] for row in rows])
        self.update_collection(replace(staged, count=staged.count + added))

    def copies(self, source: int, staged: int, pks: Sequence[int]) -> list[int]:
        """Return the pks of the staged copies of these points of ``source``."""
        return [pk for (pk,) in self.db.execute(_OF_CHOSEN, (staged, source, as_json(pks)))]

    def copies_without_text(self, source: int, staged: int) -> list[int]:
        """Return the pks of the staged copies of the points of ``source`` that have no text."""
        return [pk for (pk,) in self.db.execute(_OF_TEXTLESS, (staged, source))]

    def _index(
        self,
        collection: int,
        pks: Sequence[int],
        texts: Sequence[str | None],
        sparse: Sequence[SparseVector | None],
    ) -> None:
        if self.changes_blocks:
            index_points(self.texts, collection, pks, texts)
        else:
            self.texts.forget(collection)
            give_up_blocks(self.sparse, collection)
        store_vectors(self.sparse, collection, pks, sparse, indexes=self._indexes)
