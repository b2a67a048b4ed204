"""The rows of a SQLite file as one transaction sees them; every row is checked when it is read."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from embedder.core.storage_errors import StorageDamaged
from embedder.index.contract.sparse import SparseVector
from embedder.index.sparse.scanning import SparseScan
from embedder.index.storage.records import (
    PAGE_CHARACTERS,
    PAGE_POINTS,
    CollectionRow,
    OutdatedPoint,
)
from embedder.index.storage.row_encoding import DISAGREE, EncodedRows, check_payload, decode_vectors
from embedder.index.storage.sqlite.collection_table import (
    as_collection,
    find_collection,
    is_deleted,
    stored_collections,
)
from embedder.index.storage.sqlite.error_codes import translate_storage_errors
from embedder.index.storage.sqlite.rows.sparse_rows import SINCE_VERSION, SqliteSparse

CHUNK_ROWS = 2048

_CHUNK = """
SELECT p.pk, p.seq, p.crc, p.ext_id, p.text, p.metadata, v.crc, v.vector
FROM points AS p INDEXED BY points_by_pk LEFT JOIN vectors AS v ON v.pk = p.pk
WHERE p.collection = ? AND p.pk > ? ORDER BY p.pk LIMIT ?
"""
_WITHOUT_TEXT = """
SELECT count(*) FROM points INDEXED BY points_by_pk WHERE collection = ? AND text IS NULL
"""
_OUTDATED = """
SELECT p.pk, p.seq, p.ext_id, p.text, p.metadata, p.crc FROM points AS p INDEXED BY points_by_pk
WHERE p.collection = ? AND p.pk > ? AND p.text IS NOT NULL AND NOT EXISTS (
    SELECT 1 FROM points AS s INDEXED BY points_by_id
    WHERE s.collection = ? AND s.ext_id = p.ext_id AND s.seq = p.seq)
ORDER BY p.pk LIMIT ?
"""


class SqliteSnapshot:
    """Implements `Snapshot` on a connection whose caller has begun the transaction."""

    history = ""
    """One process writes a file, and waits until each write is on the disk."""

    def __init__(self, db: sqlite3.Connection, path: Path) -> None:
        self.db = db
        self._path, self._location = path, str(path)

    def collections(self) -> list[CollectionRow]:
        """Return all collections with a name, also from a file of an earlier version."""
        return [as_collection(row) for row in stored_collections(self.db, "name IS NOT NULL")]

    def find_collection(self, name: str) -> CollectionRow | None:
        """Return the collection of this name, or None."""
        return find_collection(self.db, name)

    def deleted_among(self, identities: Sequence[str]) -> list[str]:
        """Return those identities that are recorded as deleted, in the given order."""
        return [one for one in identities if is_deleted(self.db, one)]

    def count_without_text(self, collection: int) -> int:
        """Return how many points have no text."""
        return int(self.db.execute(_WITHOUT_TEXT, (collection,)).fetchone()[0])

    def sparse_points(self, collection: int) -> int:
        """Return how many points have a sparse vector."""
        rows = self._stored_sparse()
        totals = None if rows is None else rows.totals(collection)
        return 0 if totals is None else totals.points

    def outdated(self, source: int, staged: int, after: int) -> list[OutdatedPoint]:
        """Return a page of the points with a text that have no staged copy of the same seq."""
        found: list[OutdatedPoint] = []
        characters = 0
        rows = self.db.execute(_OUTDATED, (source, after, staged, PAGE_POINTS))
        for pk, seq, name, text, metadata, crc in rows:
            check_payload(self._location, name, text, metadata, (seq, crc))
            found.append(OutdatedPoint(pk, seq, name, text))
            characters += len(text)
            if characters > PAGE_CHARACTERS:
                break
        rows.close()
        return found

    def scan(self, row: CollectionRow) -> Iterator[EncodedRows]:
        """Yield all points of a collection in chunks, by ascending pk.

        Every chunk keeps its checksums, so a copy is never damaged.

        Raises:
            StorageDamaged: a row fails its checksum, or points are missing.
        """
        after, count, path = 0, 0, self._location
        sparse = SparseScan(self._stored_sparse(), path, row.id)
        while chunk := self._chunk(row.id, after):
            pks = [after, *(stored[0] for stored in chunk)]
            if any(pk >= following for pk, following in pairwise(pks)):
                raise StorageDamaged(path, DISAGREE, row.name)
            with translate_storage_errors(self._path):
                vectors = sparse.of(pks[1:])
            yield _encoded(path, chunk, row.width or 0, vectors)
            after, count = chunk[-1][0], count + len(chunk)
        if count != row.count:
            problem = f"{count} of {row.count} points are there"
            raise StorageDamaged(path, problem, row.name)
        sparse.check_end()

    def _stored_sparse(self) -> SqliteSparse | None:
        version = self.db.execute("PRAGMA user_version").fetchone()[0]
        return None if version < SINCE_VERSION else SqliteSparse(self.db, self._location)

    def _chunk(self, collection: int, after: int) -> list[Any]:
        # Here, because a caller that writes a file treats other errors as those of that file.
        with translate_storage_errors(self._path):
            return self.db.execute(_CHUNK, (collection, after, CHUNK_ROWS)).fetchall()


def _encoded(
    path: str,
    chunk: list[tuple[int, int, int, str, str | None, str, int, bytes]],
    width: int,
    sparse: list[SparseVector | None],
) -> EncodedRows:
    _, seqs, stored, ids, texts, metadata, vector_crcs, blobs = (
        list(column) for column in zip(*chunk, strict=True)
    )
    checksums = [
        check_payload(path, name, text, value, sealed)
        for name, text, value, *sealed in zip(ids, texts, metadata, seqs, stored, strict=True)
    ]
    vectors = decode_vectors(path, ids, blobs, vector_crcs, width)
    rows = np.ascontiguousarray(vectors).data.cast("B")
    views = [rows[start : start + 4 * width] for start in range(0, len(rows), 4 * width)]
    return EncodedRows(ids, texts, metadata, checksums, views, vector_crcs, vectors, sparse)
