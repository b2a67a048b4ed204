"""Limit how much of a long text is tokenized when the rest is truncated anyway.

A window of a text may end at a space between two letters or digits if nothing that the tokenizer
does reaches across that space. Then the tokens of the window are the first ones of the whole text,
or the last ones for a window at its end. That holds if every step of the tokenizer is one of these:

- Normalizers that change characters, or clusters of a letter and its marks, independently. A letter
  or digit stays in its word: the window is not used if the normalizer removes it or makes it a
  space.
- A first pre-tokenizer that ends a part before each space that follows a letter or digit.
- A model, which reads each part alone.
- Added tokens without spaces, none of which takes the spaces after it.

All other tokenizers get whole texts, and so do texts without such a space.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from tokenizers import Tokenizer as RustTokenizer
from tokenizers.models import BPE, Unigram, WordLevel, WordPiece

CHARACTERS_PER_TOKEN = 16
"""Characters of the window for each token of the limit; about four times the usual number."""

_LETTER = r"[^\W_\u0640\u0d4e\u0e33\u0eb3\u115f\u1160\u3164\uff9e\uff9f\uffa0\U00010000-\U0010ffff]"
"""Letters and digits; without those that join the space beside them (grapheme clusters of UAX 29),
or that normalizers may remove."""

_BOUNDARY = re.compile(f"(?<={_LETTER}) (?={_LETTER})")
_METASPACE = "\u2581"

_NORMALIZERS = {
    *("BertNormalizer", "Lowercase", "NFC", "NFD", "NFKC", "NFKD", "Nmt", "Precompiled"),
    "StripAccents",
}
_SPACES = " {2,}"
"""The only expression of a `Replace` that is known to change runs of spaces alone."""

_CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_WORDS = tuple(
    rf"{_CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{digits}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    for digits in ("", "{1,3}")
)
"""The expressions of Qwen and of Llama 3, which begin a part at each space after a letter."""


class TruncationWindows:
    """Cuts windows out of long texts, for one tokenizer."""

    def __init__(self, rust: RustTokenizer) -> None:
        self._normalizer = rust.normalizer
        self.supported = tokenizes_words_independently(rust)

    def cut(self, text: str, max_tokens: int, *, from_end: bool) -> str | None:
        """Return the window of a text to tokenize first, or None if that is the whole text.

        The window is the start of the text up to the end of a word. With ``from_end`` it is the end
        of the text, from the space before a word. It may have fewer than ``max_tokens`` tokens.
        """
        size = max_tokens * CHARACTERS_PER_TOKEN
        if not self.supported or len(text) <= size:
            return None
        for found in _BOUNDARY.finditer(text, len(text) - size if from_end else size):
            at = found.start()
            if self._keeps(text[at - 1]) and self._keeps(text[at + 1]):
                return text[at:] if from_end else text[:at]
        return None

    def _keeps(self, letter: str) -> bool:
        """Return whether the normalizer leaves a letter or digit within its word."""
        normal = letter if self._normalizer is None else self._normalizer.normalize_str(letter)
        return bool(normal) and not any(
            end.isspace() or end == _METASPACE for end in (normal[0], normal[-1])
        )


def tokenizes_words_independently(rust: RustTokenizer) -> bool:
    """Return whether the tokens of a word never depend on the other words of its text."""
    added = rust.get_added_tokens_decoder().values()
    return (
        isinstance(rust.model, (WordPiece, WordLevel, BPE, Unigram))
        and not any(" " in token.content or token.rstrip for token in added)
        and _normalizes_words(_described(rust.normalizer))
        and _splits_words(_described(rust.pre_tokenizer))
    )


def _described(component: Any) -> Mapping[str, Any] | None:
    """Return the JSON of a part of a tokenizer as ``tokenizer.json`` has it."""
    return None if component is None else dict(json.loads(component.__getstate__()))


def _normalizes_words(normalizer: Mapping[str, Any] | None) -> bool:
    """Return whether a normalizer changes each word independently of the rest of the text."""
    if normalizer is None:
        return True
    match normalizer["type"]:
        case "Sequence":
            return all(_normalizes_words(each) for each in normalizer["normalizers"])
        case "Replace":
            return _replaces_within_words(normalizer["pattern"], normalizer["content"])
        case "Strip":
            # The end of a window is a letter; its start may be a space that the text keeps.
            return not normalizer["strip_left"]
        case kind:
            return kind in _NORMALIZERS


def _replaces_within_words(pattern: Mapping[str, str], content: str) -> bool:
    if "Regex" in pattern:
        return pattern["Regex"] == _SPACES and content in (" ", _METASPACE)
    return not any(each.isspace() or each == _METASPACE for each in pattern["String"] + content)


def _splits_words(pre: Mapping[str, Any] | None) -> bool:
    """Return whether a pre-tokenizer separates words at the spaces between letters."""
    if pre is None:
        return False
    match pre["type"]:
        case "Sequence":
            return bool(pre["pretokenizers"]) and _splits_words(pre["pretokenizers"][0])
        case "ByteLevel":
            return bool(pre["use_regex"])
        case "Metaspace":
            return bool(pre.get("split", True))
        case "Split":
            return (
                pre["pattern"].get("Regex") in _WORDS
                and pre["behavior"] == "Isolated"
                and not pre["invert"]
            )
        case kind:
            return kind in {"BertPreTokenizer", "Whitespace", "WhitespaceSplit"}
