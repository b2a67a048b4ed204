"""The ids of texts by the tokenizer of a directory, as this library and transformers build it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from transformers import AutoTokenizer

from embedder.inference.loading import load_tokenizer
from tests.unit.backends.parity import open_files


def our_ids(directory: Path, texts: Sequence[str]) -> list[list[int]]:
    """Return the ids of each text, at most as many as the model reads."""
    files = open_files(directory)
    found = load_tokenizer(files).encode(texts, truncate=files.tokenizer_files.truncation)
    return [row.tolist() for row in found.tokens.rows()]


def reference_ids(directory: Path, texts: Sequence[str]) -> list[list[int]]:
    """Return the ids of transformers, whose tokenizer sentence-transformers uses."""
    reference = AutoTokenizer.from_pretrained(directory, local_files_only=True)
    length = open_files(directory).max_tokens
    ids: list[list[int]] = reference(list(texts), truncation=True, max_length=length)["input_ids"]
    return ids
