"""Rows of different lengths as one bytes object for each row.

Batches, caches and messages move such rows as they move vectors: by one index, in one array. The
bytes of a sparse row are its ids int32[k] and then its weights float32[k], those of token vectors
float32[k, width].
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedder.core.outputs import OutputKind, RaggedRows
from embedder.core.types import Rows, Vectors

RAGGED = 0
"""The width of entries whose rows have no common length."""

ASSUMED_BYTES = 16 * 1024
"""The assumed size of a ragged row before it is known: 32 token vectors of 128 components. Sparse
rows are smaller, and long texts may have a hundred times as many tokens."""

Blobs = NDArray[np.object_]
"""object[n] of bytes."""


def blobs_of(rows: Rows) -> Blobs:
    """Return the bytes of each row."""
    if not isinstance(rows, RaggedRows):
        return _array([row.tobytes() for row in rows])
    values, ids = rows.values, rows.ids
    spans = list(pairwise(rows.offsets.tolist()))
    if ids is None:
        return _array([values[start:stop].tobytes() for start, stop in spans])
    return _array(
        [ids[start:stop].tobytes() + values[start:stop].tobytes() for start, stop in spans]
    )


def rows_of(blobs: Blobs, kind: OutputKind, width: int) -> Rows:
    """Return the rows of a kind; ``width`` is that of a vector, of a sparse row 1."""
    parts: list[bytes] = blobs.tolist()
    if kind is OutputKind.SPARSE:
        return _sparse(parts)
    values = vectors_of(parts, width)
    if kind not in (OutputKind.TOKENS, OutputKind.CHUNKS):
        return values
    return RaggedRows.of(values, np.array([len(part) // (4 * width) for part in parts], np.int64))


def vectors_of(blobs: Sequence[bytes], width: int) -> Vectors:
    """Return float32[total, width], the vectors of all blobs."""
    return np.frombuffer(b"".join(blobs), np.float32).reshape(-1, width)


def stacked(rows: Sequence[Any]) -> NDArray[Any]:
    """Return one array of at least one row: of vectors, or of blobs."""
    return _array(rows) if isinstance(rows[0], bytes) else np.stack(rows)


def _array(blobs: Sequence[bytes]) -> Blobs:
    array = np.empty(len(blobs), np.object_)
    array[:] = blobs
    return array


def _sparse(blobs: Sequence[bytes]) -> RaggedRows:
    # 4 bytes of an id and 4 of a weight.
    ids = [np.frombuffer(blob, np.int32, len(blob) // 8) for blob in blobs]
    weights = [np.frombuffer(blob, np.float32, offset=len(blob) // 2) for blob in blobs]
    lengths = np.array([len(row) for row in ids], np.int64)
    return RaggedRows.of(
        np.concatenate([*weights, np.empty(0, np.float32)]).reshape(-1, 1),
        lengths,
        np.concatenate([*ids, np.empty(0, np.int32)]),
    )
