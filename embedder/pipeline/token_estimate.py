"""How many tokens inputs will be, before they have been tokenized: a running ratio.

Knows no tokenizer. What is not known yet is taken for English text.
"""

from __future__ import annotations

from collections.abc import Sequence

from embedder.core.types import Input

FIRST_CHARACTERS, FIRST_TOKENS = 4000.0, 1000.0
"""What the ratio begins with: four characters a token."""

MEMORY_CHARACTERS = 1_000_000.0
"""Beyond this the older texts count half: the ratio follows what is sent lately."""


class TokenEstimate:
    """The tokens of inputs to one model, which reads ``max_tokens`` of each."""

    def __init__(self, max_tokens: int) -> None:
        self._max_tokens = max_tokens
        self._characters = FIRST_CHARACTERS
        self._tokens = FIRST_TOKENS

    def tokens_of(self, inputs: Sequence[Input]) -> int:
        """Return the estimate for inputs; token ids are counted exactly."""
        ratio, limit = self._tokens / self._characters, self._max_tokens
        return sum(
            min(limit, 1 + int(len(item) * ratio) if isinstance(item, str) else len(item))
            for item in inputs
        )

    def learn(self, inputs: Sequence[Input], lengths: Sequence[int]) -> None:
        """Compare texts with their tokens; those that may have been cut tell nothing."""
        for item, length in zip(inputs, lengths, strict=True):
            if isinstance(item, str) and length < self._max_tokens:
                self._characters += len(item)
                self._tokens += length
        if self._characters > MEMORY_CHARACTERS:
            self._characters /= 2
            self._tokens /= 2
