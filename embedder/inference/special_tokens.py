"""The special tokens that a tokenizer puts around a text, and how ids are cut between them.

Knows nothing of texts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile

from tokenizers import Tokenizer as RustTokenizer

from embedder.core.types import Truncate

_SAMPLES = ("a", "0", "the", "一", ".")
"""Texts of which a vocabulary has at least one token."""


@dataclass(frozen=True, slots=True)
class SpecialTokens:
    """The ids in front of a text and behind it."""

    opening: tuple[int, ...] = ()
    closing: tuple[int, ...] = ()

    @classmethod
    def of(cls, rust: RustTokenizer) -> SpecialTokens:
        """Read the template of a tokenizer that neither cuts nor pads."""
        for sample in _SAMPLES:
            try:
                encoding = rust.encode(sample)
            except Exception:  # noqa: BLE001, S112 - a vocabulary without an unknown token
                continue
            special = encoding.special_tokens_mask
            if 0 in special:
                front = sum(takewhile(bool, special))
                back = sum(takewhile(bool, reversed(special)))
                ids = encoding.ids
                return cls(tuple(ids[:front]), tuple(ids[len(ids) - back :]))
        return cls()

    def cut(self, ids: Sequence[int], most: int, truncate: Truncate) -> Sequence[int]:
        """Return at most ``most`` of the ids; the special ones around them stay.

        Special tokens that the ids do not begin or end with are not added.
        """
        if len(ids) <= most or truncate is Truncate.NONE:
            return ids
        kept = list(ids)
        if truncate is Truncate.END:
            closing = self._tail(kept)
            return kept[: most - len(closing)] + closing
        opening = kept[: len(self.opening)] if self._begins(kept) else []
        return opening + kept[len(kept) - most + len(opening) :]

    def _tail(self, ids: list[int]) -> list[int]:
        tail = ids[len(ids) - len(self.closing) :]
        return tail if tuple(tail) == self.closing else []

    def _begins(self, ids: list[int]) -> bool:
        return tuple(ids[: len(self.opening)]) == self.opening
