"""Pairs of texts, which a cross-encoder reads together: as sent, and as tokens."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Pair:
    """A query and a text, which a cross-encoder reads together."""

    query: str
    text: str

    def __len__(self) -> int:
        """Return the characters of both."""
        return len(self.query) + len(self.text)


@dataclass(frozen=True, slots=True)
class PairRow:
    """The token ids of a pair, int32[k], and the type of each token, int8[k]."""

    ids: NDArray[np.int32]
    types: NDArray[np.int8]

    def __len__(self) -> int:
        return len(self.ids)
