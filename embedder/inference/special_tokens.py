"""The special tokens around a text, and truncation of ids that keeps them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile

from tokenizers import Tokenizer as RustTokenizer

from embedder.core.types import Truncate

_SAMPLES = ("a", "0", "the", "一", ".")
"""Texts of which a vocabulary contains at least one."""


@dataclass(frozen=True, slots=True)
class SpecialTokens:
    """The ids before a text and after it."""

    opening: tuple[int, ...] = ()
    closing: tuple[int, ...] = ()

    @classmethod
    def of(cls, rust: RustTokenizer) -> SpecialTokens:
        """Read the special tokens of a tokenizer without truncation and padding."""
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

    def truncate(self, ids: Sequence[int], max_tokens: int, truncate: Truncate) -> Sequence[int]:
        """Return at most ``max_tokens`` ids, and keep the special tokens around them.

        Special tokens that are missing around the ids are not added.
        """
        if len(ids) <= max_tokens or truncate is Truncate.NONE:
            return ids
        kept = list(ids)
        if truncate is Truncate.END:
            tail = kept[len(kept) - len(self.closing) :]
            closing = tail if tuple(tail) == self.closing else []
            return kept[: max_tokens - len(closing)] + closing
        head = kept[: len(self.opening)]
        opening = head if tuple(head) == self.opening else []
        return opening + kept[len(kept) - max_tokens + len(opening) :]
