"""The windows of long texts: what the model reads at once for late chunking."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from embedder.chunking.late import spans_of, windows
from embedder.chunking.request import Chunk
from embedder.core.pairs import ChunkTokens
from embedder.core.types import Input
from embedder.inference.tokenization import FastTokenizer, OffsetToken


def windows_of_texts(
    tokenizer: FastTokenizer,
    inputs: Sequence[Input],
    chunks: Sequence[Sequence[Chunk]],
    prompt: str,
) -> list[ChunkTokens]:
    """Return the windows of all texts, behind ``prompt``; they have every chunk once, in order.

    Raises:
        InvalidInput: as `windows_of`.
    """
    prompted = [prompt + text for text in inputs if isinstance(text, str)]
    tokens = tokenizer.tokenize_with_offsets(prompted)
    return [
        window
        for row, (found, of_text) in enumerate(zip(chunks, tokens, strict=True))
        for window in windows_of(f"input[{row}]", found, of_text, len(prompt), tokenizer.max_tokens)
    ]


def windows_of(
    field: str, chunks: Sequence[Chunk], tokens: Sequence[OffsetToken], prompt: int, limit: int
) -> Iterator[ChunkTokens]:
    """Yield the windows of one text behind a prompt of so many characters.

    Each has at most ``limit`` tokens, and the special tokens and those of the prompt around its
    part of the text; these belong to no chunk.

    Raises:
        InvalidInput: a chunk has no tokens; ``field`` is the name of the text.
    """
    ids = np.array([token.id for token in tokens], np.int32)
    text = [at for at, token in enumerate(tokens) if (token.stop or 0) > prompt]
    begin, end = (text[0], text[-1] + 1) if text else (0, 0)
    places = [(token.start or 0, token.stop or 0) for token in tokens[begin:end]]
    # A token without a place of its own belongs to the chunk of the token before.
    offsets = np.maximum.accumulate(np.array(places, np.int64).reshape(-1, 2), axis=0)
    spans = spans_of(chunks, offsets - prompt, field)
    around = len(ids) - (end - begin)
    for window in windows(spans, end - begin, limit - around):
        part = ids[begin + window.start : begin + window.stop]
        # In its text, a chunk can have a few more tokens than alone, and so more than a window.
        own = (spans[window.first : window.end] - window.start).clip(min=0)
        yield ChunkTokens(
            np.concatenate([ids[:begin], part, ids[end:]]), (own + begin).astype(np.int32)
        )
