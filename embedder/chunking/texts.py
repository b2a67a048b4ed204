"""Split the texts of a request, and group the vectors of their chunks by text."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from embedder.chunking.request import Chunk, ChunkEmbeddings, ChunkOptions
from embedder.chunking.windows import ChunkTokenizer, split
from embedder.core.errors import InvalidInput
from embedder.core.types import Input, Vectors
from embedder.core.utf8 import encode


def split_texts(
    inputs: Sequence[Input], tokenizer: ChunkTokenizer, options: ChunkOptions
) -> list[list[Chunk]]:
    """Return the chunks of every text, at least one each.

    Raises:
        InvalidInput: the prompt and the special tokens leave no room in a chunk, or an input is no
            text, has a lone surrogate or has only white space.
        LimitExceeded: one character alone has more tokens than ``options.size``.
    """
    added = tokenizer.count("")
    if added >= options.size:
        problem = f"is {options.size}; the prompt and the special tokens alone have {added} tokens"
        raise InvalidInput("size", problem)
    return [_split(row, item, tokenizer, options) for row, item in enumerate(inputs)]


def _split(row: int, item: Input, tokenizer: ChunkTokenizer, options: ChunkOptions) -> list[Chunk]:
    field = f"input[{row}]"
    if not isinstance(item, str):
        raise InvalidInput(field, f"is of type {type(item).__name__}; only a text has chunks")
    encode(field, item)
    try:
        chunks = split(item, tokenizer, options)
    except InvalidInput as error:
        raise error.with_field(field) from None
    if not chunks:
        raise InvalidInput(field, "must have a character that is not white space")
    return chunks


def chunk_texts(inputs: Sequence[Input], chunks: Sequence[Sequence[Chunk]]) -> list[Input]:
    """Return the text of every chunk of every input, in order."""
    return [
        item[chunk.start : chunk.stop]
        for item, found in zip(inputs, chunks, strict=True)
        if isinstance(item, str)  # only a text has chunks
        for chunk in found
    ]


def by_text(chunks: Sequence[list[Chunk]], vectors: Vectors) -> list[ChunkEmbeddings]:
    """Return the chunks of every text with their rows of ``vectors``, which are in order."""
    ends = np.cumsum([len(found) for found in chunks], dtype=np.intp)
    return [
        ChunkEmbeddings(found, vectors[end - len(found) : end])
        for found, end in zip(chunks, ends, strict=True)
    ]
