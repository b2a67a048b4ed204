"""A digest of all points of a collection, which does not depend on their order or their shards.

Two collections with the same digest have the same ids, texts, metadata and vectors, bit by bit.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

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
            for point in zip(rows.ids, rows.texts, rows.metadata, rows.blobs, strict=True)
        )
        self.total = (self.total + sum(digests)) % (1 << 8 * BYTES)
        self.count += len(rows)

    def __str__(self) -> str:
        return f"{self.total:0{2 * BYTES}x}"


def _digest(name: str, text: str | None, metadata: str, vector: memoryview) -> int:
    fields = [name.encode(), b"-" if text is None else b"+" + text.encode(), metadata.encode()]
    # The lengths say where each field ends, because it may contain any byte.
    lengths = ",".join(str(len(field)) for field in fields)
    found = hashlib.blake2b(b"".join([lengths.encode(), b":", *fields]), digest_size=BYTES)
    found.update(vector)
    return int.from_bytes(found.digest(), "big")
