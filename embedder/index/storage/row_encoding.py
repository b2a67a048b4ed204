"""Encode points as rows of the store, and decode and check rows that are read.

Checksums cover the id, the text, the metadata and the vector, so that a read detects a bit that
flipped on disk.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson

from embedder.core.storage_errors import UNNAMED, StorageDamaged
from embedder.core.types import Vectors
from embedder.index.contract.points import Points
from embedder.index.contract.sparse import SparseVector

DISAGREE = "the points and their index disagree"
"""The problem if an index of the database holds one entry twice, so that another one is missing."""


@dataclass(frozen=True, slots=True)
class EncodedRows:
    """Encoded points of one request: lists of length n, and ``vectors`` float32[n, width].

    ``sparse`` has None for a point without a sparse vector.
    """

    ids: list[str]
    texts: list[str | None]
    metadata: list[str]
    checksums: list[int]
    blobs: list[memoryview]
    vector_checksums: list[int]
    vectors: Vectors
    sparse: Sequence[SparseVector | None]

    def __len__(self) -> int:
        return len(self.ids)

    def select(self, rows: Sequence[int]) -> EncodedRows:
        """Return the points at these positions."""
        return EncodedRows(
            [self.ids[row] for row in rows],
            [self.texts[row] for row in rows],
            [self.metadata[row] for row in rows],
            [self.checksums[row] for row in rows],
            [self.blobs[row] for row in rows],
            [self.vector_checksums[row] for row in rows],
            self.vectors[list(rows)],
            [self.sparse[row] for row in rows],
        )


def encode(points: Points) -> EncodedRows:
    """Return the rows of valid points."""
    vectors = np.ascontiguousarray(points.vectors, np.float32)
    metadata = [orjson.dumps(value).decode() for value in points.metadata]
    ids = list(points.ids)
    checksums = [
        checksum(name, text, value)
        for name, text, value in zip(ids, points.texts, metadata, strict=True)
    ]
    size = vectors.itemsize * vectors.shape[1]
    buffer = vectors.data.cast("B")
    blobs = [buffer[start : start + size] for start in range(0, len(buffer), size)]
    vector_checksums = [vector_checksum(n, blob) for n, blob in zip(ids, blobs, strict=True)]
    sparse = list(points.sparse) or [None] * len(ids)
    return EncodedRows(
        ids, list(points.texts), metadata, checksums, blobs, vector_checksums, vectors, sparse
    )


def checksum(name: str, text: str | None, metadata: str) -> int:
    """Return the CRC-32 of the id, metadata and text of a point."""
    # An id may contain the separators: a flipped bit cannot move text between columns.
    shown = "\0-" if text is None else f"\0+{text}"
    return zlib.crc32(f"{name}\0\0{metadata}\0\0{shown}".encode())


def vector_checksum(name: str, blob: bytes | memoryview) -> int:
    """Return the CRC-32 of a vector and the id of its point."""
    return zlib.crc32(blob, zlib.crc32(name.encode()))


def versioned(crc: int, seq: int) -> int:
    """Return a checksum that is valid for this version of the point only."""
    return crc ^ (seq & 0xFFFFFFFF)


def check_payload(
    path: str, name: str, text: str | None, metadata: str, stored: Sequence[int]
) -> int:
    """Return the checksum of a row; ``stored`` is its seq and its `versioned` checksum.

    Raises:
        StorageDamaged: the row is not the row that was written.
    """
    seq, crc = stored
    # A flipped bit may also change the type of a column.
    if isinstance(name, str) and isinstance(seq, int):
        found = checksum(name, text, metadata)
        if versioned(found, seq) == crc:
            return found
    raise StorageDamaged(path, f"point {name!r} fails its checksum", UNNAMED)


def decode_vectors(
    path: str,
    names: Sequence[str],
    blobs: Sequence[bytes | None],
    stored: Sequence[int],
    width: int,
) -> Vectors:
    """Return the vectors float32[n, width] of rows; ``stored`` are their checksums.

    Raises:
        StorageDamaged: a vector is missing, or is not the vector that was written.
    """
    sound: list[bytes] = []
    for name, blob, crc in zip(names, blobs, stored, strict=True):
        # A flipped bit may also change the type of a column.
        if not (isinstance(name, str) and isinstance(blob, bytes) and len(blob) == 4 * width) or (
            vector_checksum(name, blob) != crc
        ):
            raise StorageDamaged(path, f"the vector of point {name!r} fails its checksum", UNNAMED)
        sound.append(blob)
    return np.frombuffer(b"".join(sound), np.float32).reshape(len(sound), width)


def decode_metadata(text: str) -> dict[str, Any]:
    """Return the metadata of a point from its JSON."""
    value: dict[str, Any] = orjson.loads(text)
    return value
