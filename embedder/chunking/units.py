"""The units of a text that chunks keep whole: sentences, words, tokens with their characters.

A unit has no white space around it, and the units of a text together have every other character.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain, pairwise

import numpy as np
import regex
from numpy.typing import NDArray

from embedder.chunking.sentences import sentence_ends

Offsets = NDArray[np.int64]
"""int64[k, 2], the first character of each token and the one after its last."""

_WORD = re.compile(r"\S+")
_CHARACTER = re.compile(r"\S")
_GRAPHEME_CLUSTER = regex.compile(r"\X")


@dataclass(frozen=True, slots=True)
class Units:
    """The ranges of n units in order, ``starts`` and ``stops`` int64[n]."""

    starts: NDArray[np.int64]
    stops: NDArray[np.int64]

    @classmethod
    def of(cls, ranges: Iterable[tuple[int, int]]) -> Units:
        """Return the units of some ranges."""
        flat: NDArray[np.int64] = np.fromiter(chain.from_iterable(ranges), np.int64)
        return cls(flat[::2], flat[1::2])


def sentences(text: str) -> Units:
    """Return the sentences of a text."""
    return _between(text, [0, *sentence_ends(text)])


def words(text: str) -> Units:
    """Return the runs of characters that are not white space."""
    return Units.of(match.span() for match in _WORD.finditer(text))


def token_clusters(text: str, offsets: Offsets) -> Units:
    """Return the shortest units that divide no token and no grapheme cluster (UAX #29)."""
    inside = _inside_tokens(len(text), offsets)
    ends = (match.end() for match in _GRAPHEME_CLUSTER.finditer(text))
    return _between(text, [0, *(end for end in ends if not inside[end])])


def characters(text: str) -> Units:
    """Return the characters that are not white space."""
    return Units.of(match.span() for match in _CHARACTER.finditer(text))


def tokens_before(text: str, offsets: Offsets) -> NDArray[np.int64]:
    """Return int64[len(text) + 1], the number of tokens that end before each character.

    Tokens with the same offsets, such as the bytes of unknown characters, end at equal distances.
    """
    spans, counts = np.unique(offsets, axis=0, return_counts=True)
    rank = np.arange(len(offsets)) - np.repeat(np.cumsum(counts) - counts, counts)
    starts, stops = np.repeat(spans, counts, axis=0).T
    tokens = np.repeat(counts, counts)
    last = starts + ((rank + 1) * (stops - starts) + tokens - 1) // tokens - 1
    ended = np.bincount(np.maximum(last, 0), minlength=len(text))
    return np.concatenate([[0], np.cumsum(ended)])


def _inside_tokens(length: int, offsets: Offsets) -> NDArray[np.bool_]:
    """Return bool[length + 1]: whether one token has characters on both sides of a position."""
    spans, counts = np.unique(offsets, axis=0, return_counts=True)
    starts, stops = spans[(spans[:, 1] > spans[:, 0]) & (counts == 1)].T
    changes = np.zeros(length + 2, np.int64)
    np.add.at(changes, starts + 1, 1)
    np.add.at(changes, stops, -1)
    inside: NDArray[np.bool_] = np.cumsum(changes)[: length + 1] > 0
    return inside


def _between(text: str, cuts: list[int]) -> Units:
    """Return the parts of a text between cuts, without white space around each."""
    trimmed = (_trimmed(text, start, stop) for start, stop in pairwise(cuts))
    return Units.of((start, stop) for start, stop in trimmed if start < stop)


def _trimmed(text: str, start: int, stop: int) -> tuple[int, int]:
    part = text[start:stop]
    return start + len(part) - len(part.lstrip()), start + len(part.rstrip())
