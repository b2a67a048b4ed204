"""What a caller asks of the chunks of its texts, and what it gets."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import Literal, cast, get_args

import numpy as np
from numpy.typing import NDArray

from embedder.core.errors import InvalidInput
from embedder.core.pairs import ChunkTokens
from embedder.core.types import TokenBatch, Vectors

Boundaries = Literal["tokens", "sentences"]

MIN_SIZE = 8
"""Fewest tokens of a chunk: room for the bytes of one character beside special tokens."""


@dataclass(frozen=True, slots=True)
class ChunkOptions:
    """How a text is split.

    A chunk has at most ``size`` tokens, special tokens and prompt included, and shares at most
    ``overlap`` tokens with the chunk before. Chunks end after whole words, and with ``boundaries``
    of "sentences" after whole sentences where one fits. With ``late`` the model reads a text as a
    whole, and the vector of a chunk is the mean of its own tokens (late chunking).
    """

    size: int = 256
    overlap: int = 32
    boundaries: Boundaries = "tokens"
    late: bool = False

    def check(self, max_tokens: int) -> None:
        """Check the options for a model that reads ``max_tokens``.

        Raises:
            InvalidInput: a value is outside its limits, which the error names.
        """
        _check("size", self.size, MIN_SIZE, max_tokens, "the most tokens that this model reads")
        _check("overlap", self.overlap, 0, self.size - 1, "which is below size")
        if self.boundaries not in get_args(Boundaries):
            names = " or ".join(map(repr, get_args(Boundaries)))
            raise InvalidInput("boundaries", f"is {self.boundaries!r}; it must be {names}")


@dataclass(frozen=True, slots=True)
class Chunk:
    """The chunk ``text[start:stop]`` of a text, with its number of tokens as the model reads it."""

    start: int
    stop: int
    tokens: int


@dataclass(frozen=True, slots=True)
class SplitTexts:
    """The chunks of each text.

    For late chunking, ``windows`` are what the model reads of all texts: they have each chunk once,
    in order.
    """

    chunks: list[list[Chunk]]
    windows: list[ChunkTokens] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class ChunkTable:
    """The chunks of n texts in arrays, as processes send them: a thousand are pickled at once.

    ``ranges`` int64[total, 3] has start, stop and tokens of each chunk, ``counts`` int64[n] the
    chunks of each text; ``windows`` are those of `SplitTexts`.
    """

    ranges: NDArray[np.int64]
    counts: NDArray[np.int64]
    windows: TokenBatch | None

    @classmethod
    def of(cls, split: SplitTexts) -> ChunkTable:
        """Return the table of the chunks of each text."""
        rows = [(one.start, one.stop, one.tokens) for found in split.chunks for one in found]
        counts = np.array([len(found) for found in split.chunks], np.int64)
        windows = None if split.windows is None else TokenBatch.of(split.windows)
        return cls(np.array(rows, np.int64).reshape(-1, 3), counts, windows)

    def split(self) -> SplitTexts:
        """Return the chunks of each text."""
        rows = iter(self.ranges.tolist())
        chunks = [[Chunk(*row) for row in islice(rows, count)] for count in self.counts.tolist()]
        windows = None if self.windows is None else self.windows.items()
        return SplitTexts(chunks, cast("list[ChunkTokens] | None", windows))


@dataclass(frozen=True, slots=True, eq=False)
class ChunkEmbeddings:
    """The chunks of one text in order, and their vectors float32[n, width], one row per chunk."""

    chunks: list[Chunk]
    vectors: Vectors


def _check(field: str, value: object, lowest: int, highest: int, reason: str) -> None:
    if type(value) is not int or not lowest <= value <= highest:
        allowed = f"a whole number from {lowest} to {highest}, {reason}"
        raise InvalidInput(field, f"is {value!r}; it must be {allowed}")
