"""What moves between the tiers of a cache: entries of one width, and how long each may still live.

Knows nothing of clocks: a life is the seconds that remain, and whoever keeps it counts them down.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embedder.core.types import Entries

KEY_BYTES = 32
TAG_BYTES = 8
"""A key begins with the tag of the model that its vector is of: all of a model go by one prefix."""

FOREVER = float("inf")


@dataclass(frozen=True, slots=True)
class Records:
    """Entries under their 32-byte keys; ``ttls_s`` is float64[n], or `FOREVER`."""

    keys: list[bytes]
    entries: Entries
    ttls_s: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.keys)

    def part(self, rows: slice) -> Records:
        """Return views of some rows that stand together."""
        return Records(self.keys[rows], self.entries.view(rows), self.ttls_s[rows])

    def take(self, rows: NDArray[np.intp]) -> Records:
        """Return copies of the given rows, in the given order."""
        keys = [self.keys[row] for row in rows.tolist()]
        return Records(keys, self.entries.take(rows), self.ttls_s[rows])

    @classmethod
    def joined(cls, parts: Sequence[Records]) -> Records:
        """Return all rows of parts of one width, of which there is one at least."""
        return cls(
            [key for part in parts for key in part.keys],
            Entries.concatenate([part.entries for part in parts]),
            np.concatenate([part.ttls_s for part in parts]),
        )

    @property
    def width(self) -> int:
        """Return how many components every vector has."""
        return int(self.entries.vectors.shape[1])
