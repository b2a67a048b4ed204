"""What a caller asks of the chunks of its texts, and what it gets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from embedder.core.errors import InvalidInput
from embedder.core.types import Vectors

Boundaries = Literal["tokens", "sentences"]

MIN_SIZE = 8
"""Fewest tokens of a chunk: room for the bytes of one character beside special tokens."""


@dataclass(frozen=True, slots=True)
class ChunkOptions:
    """How a text is split.

    A chunk has at most ``size`` tokens, special tokens and prompt included, and shares at most
    ``overlap`` tokens with the chunk before. Chunks end after whole words, and with ``boundaries``
    of "sentences" after whole sentences where one fits.
    """

    size: int = 256
    overlap: int = 32
    boundaries: Boundaries = "tokens"

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


@dataclass(frozen=True, slots=True, eq=False)
class ChunkEmbeddings:
    """The chunks of one text in order, and their vectors float32[n, width], one row per chunk."""

    chunks: list[Chunk]
    vectors: Vectors


def _check(field: str, value: object, lowest: int, highest: int, reason: str) -> None:
    if type(value) is not int or not lowest <= value <= highest:
        allowed = f"a whole number from {lowest} to {highest}, {reason}"
        raise InvalidInput(field, f"is {value!r}; it must be {allowed}")
