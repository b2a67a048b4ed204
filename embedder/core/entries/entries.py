"""The encoded form of inputs, from which every result is derived; caches store it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedder.core.entries.blobs import RAGGED, blobs_of, vectors_of


@dataclass(frozen=True, slots=True)
class Entries:
    """The encoded form of n inputs, from which every result is derived; the cache stores entries.

    ``vectors`` is float32[n, d] at full width before normalization, or object[n], the bytes of
    sparse rows or token vectors (`embedder.core.entries.blobs`). ``token_counts`` is int32[n] and
    ``truncated`` bool[n].
    """

    vectors: NDArray[Any]
    token_counts: NDArray[np.int32]
    truncated: NDArray[np.bool_]

    @classmethod
    def allocate(cls, count: int, width: int) -> Entries:
        """Return ``count`` uninitialized rows of ``width`` components, or of no fixed width."""
        ragged = width == RAGGED
        return cls(
            np.empty(count, np.object_) if ragged else np.empty((count, width), np.float32),
            np.empty(count, np.int32),
            np.empty(count, np.bool_),
        )

    def __len__(self) -> int:
        return len(self.token_counts)

    @property
    def width(self) -> int:
        """Return the number of components of a vector; `RAGGED` if the rows are bytes."""
        return self.vectors.shape[1] if self.vectors.ndim == 2 else RAGGED

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Return int64[n], the bytes of each row."""
        if self.vectors.ndim == 2:
            return np.full(len(self), 4 * self.vectors.shape[1], np.int64)
        return np.fromiter(map(len, self.vectors), np.int64, len(self))

    @property
    def nbytes(self) -> int:
        """Return the bytes of all rows."""
        return self.vectors.nbytes if self.vectors.ndim == 2 else sum(map(len, self.vectors))

    def take(self, rows: NDArray[np.intp] | slice) -> Entries:
        """Return copies of the given rows, in the given order; of a slice, views."""
        return Entries(self.vectors[rows], self.token_counts[rows], self.truncated[rows])

    @classmethod
    def concatenate(cls, parts: Sequence[Entries]) -> Entries:
        """Return the rows of one or more parts, in order."""
        return cls(
            np.concatenate([part.vectors for part in parts]),
            np.concatenate([part.token_counts for part in parts]),
            np.concatenate([part.truncated for part in parts]),
        )

    def of_width(self, width: int) -> Entries:
        """Return the same rows as vectors of ``width`` components; `RAGGED`: as bytes."""
        if width == self.width:
            return self
        if width == RAGGED:
            return replace(self, vectors=blobs_of(self.vectors))
        return replace(self, vectors=vectors_of(self.vectors.tolist(), width))

    def put(self, rows: NDArray[np.intp], source: Entries) -> None:
        """Overwrite the given rows with the rows of ``source``."""
        self.vectors[rows] = source.vectors
        self.token_counts[rows] = source.token_counts
        self.truncated[rows] = source.truncated
