"""The texts of a run: of two kinds by their tokens, and for a server never the same one twice.

Their tokens are those of the model's tokenizer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.texts import WORDS, distinct, sample
from embedder.core.types import Truncate
from embedder.inference.loading import load_tokenizer
from embedder.models.files import ModelFiles

SENTENCE_TOKENS = (16, 26)
"""The least and the most tokens of a sentence, special tokens included: 21 or so on average."""

POOL = 4000
"""Sentences that a server gets before words are added to them."""

CANDIDATES = 6
"""Texts to look through for each sentence: one in three of those made up is of that length."""


@dataclass(frozen=True, slots=True)
class Kind:
    """Some texts of one kind, and how many tokens they have on average."""

    name: str
    texts: list[str]
    tokens_a_text: float


@dataclass(frozen=True, slots=True)
class Inputs:
    """The texts that are embedded in process, sent to servers, and compared by their vectors.

    ``quantiles`` are the tokens of all texts of the sample at 10, 50, 90 and 99 percent.
    """

    kinds: tuple[Kind, Kind]
    pool: Kind
    compared: list[str]
    quantiles: tuple[int, ...]


class Supply:
    """Distinct texts without an end: a pool, then the pool with a word more, and so on.

    Every word is one token, so texts grow by one token at the end of the first pass, and by
    another one after as many passes as there are words.
    """

    def __init__(self, pool: Sequence[str]) -> None:
        self._pool = pool
        self._place = 0

    def offer(self, count: int) -> list[str]:
        """Return the next texts, which are offered again unless they are `spent`."""
        return [self._text(place) for place in range(self._place, self._place + count)]

    def spent(self, count: int) -> None:
        """Pass over the next texts, which a server has seen."""
        self._place += count

    def _text(self, place: int) -> str:
        number, at = divmod(place, len(self._pool))
        words = [self._pool[at]]
        while number > 0:
            number, word = divmod(number - 1, len(WORDS))
            words.append(WORDS[word])
        return " ".join(words)


def inputs_of(files: ModelFiles, count: int, *, seed: int, path: Path | None) -> Inputs:
    """Choose ``count`` texts of each kind, and a pool of sentences that are not among them.

    Raises:
        ValueError: the file of texts has too few.
    """
    texts = _candidates(count, seed, path)
    tokens = load_tokenizer(files).encode(texts, truncate=Truncate.END).tokens.lengths
    least, most = SENTENCE_TOKENS
    sentences = np.flatnonzero((tokens >= least) & (tokens <= most))
    if len(sentences) <= count:
        raise ValueError(f"only {len(sentences)} texts have {least} to {most} tokens; give more")
    short, pool = sentences[:count], sentences[count : count + POOL]
    mixed = np.arange(count)
    compared = [texts[at] for at in (*mixed[:32], *short[:32])]
    return Inputs(
        kinds=(_kind("sentences", texts, tokens, short), _kind("mixed", texts, tokens, mixed)),
        pool=_kind("pool", texts, tokens, pool),
        compared=compared,
        quantiles=tuple(int(number) for number in np.quantile(tokens, (0.1, 0.5, 0.9, 0.99))),
    )


def _candidates(count: int, seed: int, path: Path | None) -> list[str]:
    """Return texts to choose from: as many as are wanted, or all that a file has."""
    wanted = CANDIDATES * (count + POOL)
    return sample(
        wanted if path is None else min(wanted, len(distinct(path))), seed=seed, path=path
    )


def _kind(
    name: str, texts: Sequence[str], tokens: NDArray[np.int32], places: NDArray[np.intp]
) -> Kind:
    return Kind(name, [texts[at] for at in places], float(tokens[places].mean()))
