"""Records that move between the tiers of a cache: entries of one width with their times."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embedder.core.entries.entries import Entries

KEY_BYTES = 32
TAG_BYTES = 8
"""A key begins with the tag of its model, so that all keys of a model have one prefix."""

FOREVER = float("inf")


@dataclass(frozen=True, slots=True)
class Records:
    """Entries by 32-byte key; ``ttls_s`` float64[n] is the seconds that remain, or `FOREVER`."""

    keys: list[bytes]
    entries: Entries
    ttls_s: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.keys)

    def view(self, rows: slice) -> Records:
        """Return views of consecutive rows."""
        return Records(self.keys[rows], self.entries.take(rows), self.ttls_s[rows])

    def take(self, rows: NDArray[np.intp]) -> Records:
        """Return copies of the rows, in the given order."""
        keys = [self.keys[row] for row in rows.tolist()]
        return Records(keys, self.entries.take(rows), self.ttls_s[rows])

    @classmethod
    def concatenate(cls, parts: Sequence[Records]) -> Records:
        """Return all rows of at least one part; all parts have one width."""
        return cls(
            [key for part in parts for key in part.keys],
            Entries.concatenate([part.entries for part in parts]),
            np.concatenate([part.ttls_s for part in parts]),
        )

    @property
    def width(self) -> int:
        """Return the number of components of a vector, as `Entries.width`."""
        return self.entries.width
