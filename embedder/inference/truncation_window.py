"""How much of a text must be tokenized where the rest of it is cut off anyway.

A tokenizer that splits texts at white space before anything else reads each word by itself: the
tokens of a part that ends behind a word are the first tokens of the whole text. Tokenizers of which
that is not certain are given whole texts.
"""

from __future__ import annotations

import re

from tokenizers import Tokenizer as RustTokenizer
from tokenizers.models import BPE, WordLevel, WordPiece
from tokenizers.normalizers import (
    NFC,
    NFD,
    NFKC,
    NFKD,
    BertNormalizer,
    Lowercase,
    Normalizer,
    StripAccents,
)
from tokenizers.normalizers import Sequence as NormalizerSequence
from tokenizers.pre_tokenizers import (
    BertPreTokenizer,
    ByteLevel,
    PreTokenizer,
    Whitespace,
    WhitespaceSplit,
)
from tokenizers.pre_tokenizers import Sequence as PreTokenizerSequence

CHARACTERS_PER_TOKEN = 16
"""Characters that are read first for each token that the model takes: some four times the usual."""

_BETWEEN_WORDS = re.compile(r"(?<=\S)[ \n\t]")
_LOCAL_NORMALIZERS = (BertNormalizer, Lowercase, NFC, NFD, NFKC, NFKD, StripAccents)


def tokenizes_words_independently(rust: RustTokenizer) -> bool:
    """Return whether the tokens of a word depend on no other word of its text, for certain."""
    spaced = any(" " in token.content for token in rust.get_added_tokens_decoder().values())
    return (
        isinstance(rust.model, (WordPiece, WordLevel, BPE))
        and _is_local(rust.normalizer)
        and _splits(rust.pre_tokenizer)
        and not spaced
    )


def truncation_window(text: str, max_tokens: int, *, from_end: bool) -> str | None:
    """Return the part of a text to read first, or None where that is the whole text.

    It is the start of the text up to the end of a word; with ``from_end`` it is the end of the
    text from the white space before a word.
    """
    size = max_tokens * CHARACTERS_PER_TOKEN
    if len(text) <= size:
        return None
    if from_end:
        found = _BETWEEN_WORDS.search(text, len(text) - size)
        return text[found.start() :] if found else None
    found = _BETWEEN_WORDS.search(text, size)
    return text[: found.start()] if found else None


def _is_local(normalizer: Normalizer | None) -> bool:
    """Return whether a normalizer changes each word without looking at others, or at the ends."""
    if isinstance(normalizer, NormalizerSequence):
        return all(_is_local(normalizer[at]) for at in range(len(normalizer)))
    return normalizer is None or isinstance(normalizer, _LOCAL_NORMALIZERS)


def _splits(pre: PreTokenizer | None) -> bool:
    """Return whether a pre-tokenizer separates words."""
    if isinstance(pre, PreTokenizerSequence):
        return _splits(pre[0])
    if isinstance(pre, ByteLevel):
        return bool(pre.use_regex)
    return isinstance(pre, (BertPreTokenizer, Whitespace, WhitespaceSplit))
