"""Inputs besides texts and ids: pairs of texts, tokens with types, and tokens of several chunks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

KNOWN_TYPE = -1
"""The type of a token whose type the backend knows."""

NO_VECTOR = -2
"""The same, of a token that gets no vector in a multi-vector model."""

NOT_ATTENDED = -3
"""The same, of a token to which no other token attends: those that fill up a query of ColBERT."""


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
    """The token ids of an input, int32[k], and the type of each token, int8[k].

    The inputs are pairs, or texts for a multi-vector model; see `KNOWN_TYPE` and those after it.
    """

    ids: NDArray[np.int32]
    types: NDArray[np.int8]

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, slots=True, eq=False)
class ChunkTokens:
    """The token ids that a model reads at once, int32[k], and the tokens of the chunks in them.

    ``spans`` int32[m, 2] has the first token of each chunk and the one after its last.
    """

    ids: NDArray[np.int32]
    spans: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.ids)
