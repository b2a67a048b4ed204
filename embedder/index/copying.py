"""All points of one collection at one moment, chunk by chunk, as rows of the truth.

Every row is held against its checksums on the way out, and goes in under them again: a copy is
never of damaged data. Knows nothing of where the copy goes.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

import numpy as np

from embedder.index.rows import EncodedRows, checksum, decode_vectors, sealed
from embedder.index.writes import CollectionRow
from embedder.storage_errors import StorageDamaged

CHUNK_ROWS = 2048

_QUERY = """
SELECT p.pk, p.seq, p.crc, p.ext_id, p.text, p.metadata, v.crc, v.vector
FROM points AS p INDEXED BY points_by_pk LEFT JOIN vectors AS v ON v.pk = p.pk
WHERE p.collection = ? AND p.pk > ? ORDER BY p.pk LIMIT ?
"""


def stored_rows(db: sqlite3.Connection, path: str, row: CollectionRow) -> Iterator[EncodedRows]:
    """Give all points in the order of their first insertion; ``db`` sees one moment.

    Raises:
        StorageDamaged: a row fails its checksum, or points are missing.
    """
    after, count = 0, 0
    while chunk := db.execute(_QUERY, (row.id, after, CHUNK_ROWS)).fetchall():
        yield _encoded(path, chunk, row.width or 0)
        after, count = chunk[-1][0], count + len(chunk)
    if count != row.count:
        raise StorageDamaged(path, f"collection {row.name!r} has {count} of {row.count} points")


def _encoded(
    path: str,
    chunk: list[tuple[int, int, int, str, str | None, str, int, bytes]],
    width: int,
) -> EncodedRows:
    _, seqs, stored, ids, texts, metadata, vector_crcs, blobs = (
        list(column) for column in zip(*chunk, strict=True)
    )
    checksums = [
        checksum(name, text, value) for name, text, value in zip(ids, texts, metadata, strict=True)
    ]
    for name, crc, seq, found in zip(ids, checksums, seqs, stored, strict=True):
        if sealed(crc, seq) != found:
            raise StorageDamaged(path, f"point {name!r} fails its checksum")
    vectors = decode_vectors(path, ids, [blob or b"" for blob in blobs], vector_crcs, width)
    rows = np.ascontiguousarray(vectors).data.cast("B")
    views = [rows[start : start + 4 * width] for start in range(0, len(rows), 4 * width)]
    return EncodedRows(ids, texts, metadata, checksums, views, vector_crcs, vectors)
