"""Tokenizers of several kinds, for which the tokens of a part differ from those of the whole."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from tokenizers import Tokenizer as RustTokenizer
from tokenizers import decoders, pre_tokenizers, processors
from tokenizers.models import BPE, Unigram

from embedder.chunking.units import Offsets
from embedder.models.files import ModelFiles
from embedder.settings.model import ModelSettings


@dataclass(frozen=True)
class Tokens:
    """A Rust tokenizer, used without the code of the library."""

    rust: RustTokenizer
    prompt: str = ""

    def count(self, text: str) -> int:
        """Return the tokens of a text behind the prompt, special tokens included."""
        return len(self.rust.encode(self.prompt + text).ids)

    def content(self, text: str) -> int:
        """Return the tokens of a text alone."""
        return len(self.rust.encode(text, add_special_tokens=False).ids)

    def offsets(self, text: str) -> Offsets:
        """Return the offsets of the tokens of a text alone."""
        encoding = self.rust.encode(text, add_special_tokens=False)
        return np.array(encoding.offsets, np.int64).reshape(-1, 2)


@dataclass(frozen=True)
class Rules:
    """A tokenizer by two functions: how many tokens a text has, and how long each token is."""

    counted: Callable[[str], int]
    length: int = 1

    def count(self, text: str) -> int:
        """Return what the function says."""
        return self.counted(text)

    def offsets(self, text: str) -> Offsets:
        """Return tokens of equal length."""
        starts = np.arange(0, len(text), self.length)
        return np.stack([starts, np.minimum(starts + self.length, len(text))], axis=1)


def word_piece() -> RustTokenizer:
    """Return the tokenizer of the default model."""
    files = ModelFiles.open(ModelSettings(offline=True))
    rust: RustTokenizer = RustTokenizer.from_file(str(files.tokenizer))
    rust.no_truncation()
    rust.no_padding()
    return rust


def byte_level() -> RustTokenizer:
    """Return a tokenizer with a token for each byte, and some words with the space before."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = [("Ġ", "a"), ("a", "b"), ("Ġa", "b"), ("b", "c")]
    names = ["<s>", *alphabet, *(left + right for left, right in merges)]
    rust = RustTokenizer(BPE({name: at for at, name in enumerate(names)}, merges))
    rust.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    rust.decoder = decoders.ByteLevel()
    rust.post_processor = processors.TemplateProcessing(
        single="<s> $A <s>", special_tokens=[("<s>", 0)]
    )
    return rust


def unigram() -> RustTokenizer:
    """Return a tokenizer with bytes for unknown characters, whose tokens begin with spaces."""
    pieces = ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", "▁a", "ab", "a", "b", "c"]
    rust = RustTokenizer(
        Unigram([(piece, -float(at % 7)) for at, piece in enumerate(pieces)], 0, byte_fallback=True)
    )
    rust.pre_tokenizer = pre_tokenizers.Metaspace()
    return rust
