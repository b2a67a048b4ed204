"""Estimate the number of tokens of inputs before they are tokenized, by a running ratio."""

from __future__ import annotations

from collections.abc import Sequence

from embedder.core.pairs import Pair
from embedder.core.types import Input

FIRST_CHARACTERS, FIRST_TOKENS = 4000.0, 1000.0
"""The initial ratio, that of English text: four characters a token."""

MEMORY_CHARACTERS = 1_000_000.0
"""Above this number of characters the weight of older texts is halved."""


class TokenEstimate:
    """The estimate for one model, which reads at most ``max_tokens`` of each input."""

    def __init__(self, max_tokens: int) -> None:
        self._max_tokens = max_tokens
        self._characters = FIRST_CHARACTERS
        self._tokens = FIRST_TOKENS

    def tokens_of(self, inputs: Sequence[Input]) -> int:
        """Return the estimated tokens of the inputs; token ids are counted exactly."""
        ratio, limit = self._tokens / self._characters, self._max_tokens
        tokens = 0
        for item in inputs:
            length = 1 + int(len(item) * ratio) if isinstance(item, (str, Pair)) else len(item)
            tokens += min(limit, length)
        return tokens

    def learn(self, inputs: Sequence[Input], lengths: Sequence[int]) -> None:
        """Update the ratio; texts that may have been truncated are left out."""
        for item, length in zip(inputs, lengths, strict=True):
            if isinstance(item, (str, Pair)) and length < self._max_tokens:
                self._characters += len(item)
                self._tokens += length
        if self._characters > MEMORY_CHARACTERS:
            self._characters /= 2
            self._tokens /= 2
