"""Reads all points of one collection at one moment, in chunks of encoded rows.

Every row is checked when it is read, and keeps its checksums, so a copy is never damaged.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from embedder.core.storage_errors import StorageDamaged
from embedder.index.storage.row_encoding import DISAGREE, EncodedRows, check_payload, decode_vectors
from embedder.index.storage.sqlite.collection_rows import CollectionRow
from embedder.index.storage.sqlite.error_codes import translate_storage_errors

CHUNK_ROWS = 2048

_QUERY = """
SELECT p.pk, p.seq, p.crc, p.ext_id, p.text, p.metadata, v.crc, v.vector
FROM points AS p INDEXED BY points_by_pk LEFT JOIN vectors AS v ON v.pk = p.pk
WHERE p.collection = ? AND p.pk > ? ORDER BY p.pk LIMIT ?
"""


def scan_rows(db: sqlite3.Connection, path: str, row: CollectionRow) -> Iterator[EncodedRows]:
    """Yield all points in the order of their first insertion, read in one transaction of ``db``.

    Raises:
        StorageDamaged: a row fails its checksum, or points are missing.
    """
    after, count = 0, 0
    while chunk := _chunk(db, path, row.id, after):
        pks = [after, *(stored[0] for stored in chunk)]
        if any(pk >= following for pk, following in pairwise(pks)):
            raise StorageDamaged(path, DISAGREE, row.name)
        yield _encoded(path, chunk, row.width or 0)
        after, count = chunk[-1][0], count + len(chunk)
    if count != row.count:
        problem = f"{count} of {row.count} points are there"
        raise StorageDamaged(path, problem, row.name)


def _chunk(db: sqlite3.Connection, path: str, collection: int, after: int) -> list[Any]:
    with translate_storage_errors(Path(path)):
        return db.execute(_QUERY, (collection, after, CHUNK_ROWS)).fetchall()


def _encoded(
    path: str,
    chunk: list[tuple[int, int, int, str, str | None, str, int, bytes]],
    width: int,
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
    return EncodedRows(ids, texts, metadata, checksums, views, vector_crcs, vectors)
