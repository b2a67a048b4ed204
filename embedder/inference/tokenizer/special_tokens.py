"""The special tokens around a text and around a pair, and truncation that keeps them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile

import numpy as np
from tokenizers import Tokenizer as RustTokenizer

from embedder.core.errors import UnsupportedModel
from embedder.core.pairs import PairRow
from embedder.core.types import TokenRow, Truncate

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


@dataclass(frozen=True, slots=True)
class PairTemplate:
    """What a tokenizer puts before a query, between it and a text, and after both."""

    opening: PairRow
    middle: PairRow
    closing: PairRow
    query_type: int
    text_type: int

    @classmethod
    def of(cls, rust: RustTokenizer) -> PairTemplate:
        """Read the template of a tokenizer without truncation and padding.

        Raises:
            UnsupportedModel: the tokenizer does not put the query before the text.
        """
        for sample in _SAMPLES:
            try:
                encoding = rust.encode(sample, sample)
            except Exception:  # noqa: BLE001, S112 - a vocabulary without an unknown token
                continue
            halves = np.array([-1 if each is None else each for each in encoding.sequence_ids])
            query, text = np.flatnonzero(halves == 0), np.flatnonzero(halves == 1)
            if len(query) and len(text) and query[-1] < text[0]:
                ids, types = np.array(encoding.ids, np.int32), np.array(encoding.type_ids, np.int8)
                around = (
                    slice(0, query[0]),
                    slice(query[-1] + 1, text[0]),
                    slice(text[-1] + 1, None),
                )
                opening, middle, closing = (PairRow(ids[part], types[part]) for part in around)
                return cls(opening, middle, closing, int(types[query[0]]), int(types[text[0]]))
        raise UnsupportedModel("the tokenizer makes no pair of a query and a text after it")

    def __len__(self) -> int:
        """Return the number of special tokens."""
        return len(self.opening) + len(self.middle) + len(self.closing)

    def row(self, query: TokenRow, text: TokenRow) -> PairRow:
        """Return the tokens of a pair, of the ids of its halves."""
        opening, middle, closing = self.opening, self.middle, self.closing
        query_types = np.full(len(query), self.query_type, np.int8)
        text_types = np.full(len(text), self.text_type, np.int8)
        return PairRow(
            np.concatenate([opening.ids, query, middle.ids, text, closing.ids]),
            np.concatenate([opening.types, query_types, middle.types, text_types, closing.types]),
        )


def longest_first(query: int, text: int, room: int) -> tuple[int, int]:
    """Return how many tokens of a query and of a text are kept, together at most ``room``.

    The longer one is cut first, to the length of the other; then both equally. This is the strategy
    of the same name in transformers, also in who gets the odd token.
    """
    short, long = sorted((query, text))
    if short + long <= room:
        return query, text
    if 2 * short <= room:
        long = room - short
    else:
        short, long = room // 2, room - room // 2
    return (long, short) if query > text else (short, long)
