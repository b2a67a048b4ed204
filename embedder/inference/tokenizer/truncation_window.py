"""Limit how much of a long text is tokenized when the rest is truncated anyway.

If a tokenizer splits texts at white space first, it tokenizes each word independently. The tokens
of a window that ends after a word are then the first tokens of the whole text. Other tokenizers get
whole texts.
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
"""Characters of the window for each token of the limit; about four times the usual number."""

_WORD_END = re.compile(r"(?<=\S)[ \n\t]")
_WORD_NORMALIZERS = (BertNormalizer, Lowercase, NFC, NFD, NFKC, NFKD, StripAccents)


def tokenizes_words_independently(rust: RustTokenizer) -> bool:
    """Return whether the tokens of a word never depend on the other words of its text."""
    spaced = any(" " in token.content for token in rust.get_added_tokens_decoder().values())
    return (
        isinstance(rust.model, (WordPiece, WordLevel, BPE))
        and _normalizes_words(rust.normalizer)
        and _splits_words(rust.pre_tokenizer)
        and not spaced
    )


def truncation_window(text: str, max_tokens: int, *, from_end: bool) -> str | None:
    """Return the window of a text to tokenize first, or None if that is the whole text.

    The window is the start of the text up to the end of a word. With ``from_end`` it is the end of
    the text, from the white space before a word.
    """
    size = max_tokens * CHARACTERS_PER_TOKEN
    if len(text) <= size:
        return None
    if from_end:
        found = _WORD_END.search(text, len(text) - size)
        return text[found.start() :] if found else None
    found = _WORD_END.search(text, size)
    return text[: found.start()] if found else None


def _normalizes_words(normalizer: Normalizer | None) -> bool:
    """Return whether a normalizer changes each word independently of the rest of the text."""
    if isinstance(normalizer, NormalizerSequence):
        return all(_normalizes_words(normalizer[at]) for at in range(len(normalizer)))
    return normalizer is None or isinstance(normalizer, _WORD_NORMALIZERS)


def _splits_words(pre: PreTokenizer | None) -> bool:
    """Return whether a pre-tokenizer separates words."""
    if isinstance(pre, PreTokenizerSequence):
        return _splits_words(pre[0])
    if isinstance(pre, ByteLevel):
        return bool(pre.use_regex)
    return isinstance(pre, (BertPreTokenizer, Whitespace, WhitespaceSplit))
