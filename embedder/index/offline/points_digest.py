"""A digest of all points of a collection, which does not depend on their order or their shards.

Two collections with the same digest have the same ids, texts, metadata, vectors and sparse vectors,
bit by bit.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from embedder.index.contract.sparse import SparseVector
from embedder.index.storage.row_encoding import EncodedRows

BYTES = 16


@dataclass(slots=True)
class PointsDigest:
    """The number of points, and the sum of the BLAKE2b digests of each one modulo 2**128."""

    count: int = 0
    total: int = 0

    def add(self, rows: EncodedRows) -> None:
        """Count points; each once, because a sum finds a point that is there twice."""
        digests = (
            _digest(*point)
            for point in zip(
                rows.ids, rows.texts, rows.metadata, rows.blobs, rows.sparse, strict=True
            )
        )
        self.total = (self.total + sum(digests)) % (1 << 8 * BYTES)
        self.count += len(rows)

    def __str__(self) -> str:
        return f"{self.total:0{2 * BYTES}x}"


def _digest(
    name: str, text: str | None, metadata: str, vector: memoryview, sparse: SparseVector | None
) -> int:
    fields = [name.encode(), b"-" if text is None else b"+" + text.encode(), metadata.encode()]
    # The lengths say where each field ends, because it may contain any byte.
    lengths = ",".join(str(len(field)) for field in fields)
    # A point with a sparse vector has a digest of another kind, so that the ends of both vectors
    # need not be told apart, and digests of points without one stay the same.
    kind = b"" if sparse is None else f"sparse {len(sparse)}".encode()
    start = b"".join([lengths.encode(), b":", *fields])
    found = hashlib.blake2b(start, digest_size=BYTES, person=kind)
    found.update(vector)
    if sparse is not None:
        found.update(sparse.encoded())
    return int.from_bytes(found.digest(), "big")
