"""The sparse vector of a text: weights of ids of the vocabulary of a model."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class SparseVector:
    """The weights of one text: ids int32[k], ascending and distinct, and weights float32[k]."""

    ids: NDArray[np.int32]
    weights: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.ids)

    def encoded(self) -> bytes:
        """Return the ids, and then the weights."""
        return self.ids.astype("<i4").tobytes() + self.weights.astype("<f4").tobytes()

    @classmethod
    def decoded(cls, row: bytes) -> SparseVector:
        """Return the vector of encoded ids and weights."""
        half = len(row) // 2
        return cls(np.frombuffer(row[:half], "<i4"), np.frombuffer(row[half:], "<f4"))
