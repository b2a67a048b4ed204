"""Split a text into chunks of a limited number of tokens that overlap.

A chunk ends after the last sentence (if the caller wants that) or the last word that fits. Where
none fits, it ends inside a word between two tokens; where no token fits, between two characters.
The next chunk repeats whole units of the kind with which the chunk ended, if the overlap has room.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from embedder.chunking.request import Chunk, ChunkOptions
from embedder.chunking.units import (
    Offsets,
    Units,
    characters,
    sentences,
    token_clusters,
    tokens_before,
    words,
)
from embedder.core.errors import LimitExceeded

_NOT_SPACE = re.compile(r"\S")


class ChunkTokenizer(Protocol):
    """The tokenizer of the model that will read the chunks."""

    def count(self, text: str) -> int:
        """Return how many tokens the model reads for a chunk, with special tokens and prompt."""

    def offsets(self, text: str) -> Offsets:
        """Return the offsets of the tokens of a text, without special tokens and prompt."""


def split(
    text: str, tokenizer: ChunkTokenizer, options: ChunkOptions, *, most: int | None = None
) -> list[Chunk]:
    """Return the chunks of a text in order; a text of only white space has none.

    A chunk has no white space around it. Every other character of the text is in a chunk, unless
    there are more than ``most`` chunks: then the work ends with the chunk after those.

    Raises:
        LimitExceeded: one character alone has more tokens than ``options.size``.
    """
    whole = text.strip()
    tokens = tokenizer.count(whole)
    if tokens <= options.size:
        start = len(text) - len(text.lstrip())
        return [Chunk(start, start + len(whole), tokens)] if whole else []
    chunks = _Splitter(text, tokenizer, options).chunks()
    return list(islice(chunks, None if most is None else most + 1))


@dataclass(frozen=True, slots=True)
class _Level:
    """Units of one kind, with the number of tokens before the start and the stop of each."""

    units: Units
    before_starts: NDArray[np.int64]
    before_stops: NDArray[np.int64]


class _Splitter:
    """The chunks of one text.

    The tokens of the whole text only predict where a chunk ends, because the tokens at the ends of
    a chunk may differ from them: every chunk is tokenized again, and shortened if it is too long.
    """

    def __init__(self, text: str, tokenizer: ChunkTokenizer, options: ChunkOptions) -> None:
        self._text = text
        self._tokenizer = tokenizer
        self._options = options
        self._room = options.size - tokenizer.count("")
        offsets = tokenizer.offsets(text)
        self._before = tokens_before(text, offsets)
        coarse = [sentences, words] if options.boundaries == "sentences" else [words]
        self._kinds: list[Callable[[str], Units]] = [
            *coarse,
            lambda text: token_clusters(text, offsets),
            characters,
        ]
        self._levels: list[_Level] = []

    def chunks(self) -> Iterator[Chunk]:
        """Yield the chunks in order."""
        end = len(self._text.rstrip())
        start, stop, level = -1, 0, 0
        while stop < end:
            chunk, level = self._next(start, stop, level)
            yield chunk
            start, stop = chunk.start, chunk.stop

    def _next(self, start: int, stop: int, level: int) -> tuple[Chunk, int]:
        """Return the chunk after that from ``start`` to ``stop``, and the level of its last unit.

        ``level`` is that of the chunk before: the overlap divides none of its units.
        """
        for repeated in self._starts(start, stop, level):
            for kind in range(level + 1):
                if chunk := self._longest(repeated, stop, kind):
                    return chunk, kind
        following = _NOT_SPACE.search(self._text, stop)
        assert following is not None, "no characters are left"
        for kind in range(len(self._kinds)):
            if chunk := self._longest(following.start(), stop, kind):
                return chunk, kind
        at = following.start()
        unit = f"tokens in character {at}, special tokens and prompt included"
        raise LimitExceeded(
            "input", unit, self._tokenizer.count(self._text[at]), self._options.size
        )

    def _starts(self, start: int, stop: int, level: int) -> list[int]:
        """Return where units start whose tokens up to ``stop`` are within the overlap."""
        if self._options.overlap == 0:
            return []  # units without tokens are not repeated either
        found = self._level(level)
        least = self._before[stop] - self._options.overlap
        first = max(
            np.searchsorted(found.units.starts, start, "right"),
            np.searchsorted(found.before_starts, least),
        )
        starts: list[int] = found.units.starts[
            first : np.searchsorted(found.units.starts, stop)
        ].tolist()
        return starts

    def _longest(self, start: int, after: int, level: int) -> Chunk | None:
        """Return the longest chunk from ``start`` that ends with a unit beyond ``after``."""
        found = self._level(level)
        first = int(np.searchsorted(found.units.stops, after, "right"))
        room = self._before[start] + self._room
        at = int(np.searchsorted(found.before_stops, room, "right")) - 1
        if level == len(self._kinds) - 1:
            at = max(at, first)  # a prediction must not refuse a character
        while at >= first:
            stop = int(found.units.stops[at])
            tokens = self._tokenizer.count(self._text[start:stop])
            if tokens <= self._options.size:
                return Chunk(start, stop, tokens)
            room -= tokens - self._options.size
            predicted = int(np.searchsorted(found.before_stops, room, "right")) - 1
            at = min(at - 1, max(predicted, first))
        return None

    def _level(self, number: int) -> _Level:
        while len(self._levels) <= number:  # the finer ones are seldom needed
            units = self._kinds[len(self._levels)](self._text)
            before = self._before
            self._levels.append(_Level(units, before[units.starts], before[units.stops]))
        return self._levels[number]
