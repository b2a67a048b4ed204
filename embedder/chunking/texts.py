"""Split the texts of a request, and group the vectors of their chunks by text."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from embedder.chunking.request import Chunk, ChunkEmbeddings, ChunkOptions
from embedder.chunking.windows import ChunkTokenizer, split
from embedder.core.errors import InvalidInput, LimitExceeded
from embedder.core.types import Input, Vectors
from embedder.core.utf8 import encode

_INPUT = re.compile(r"input\[(\d+)\]")


def split_texts(
    inputs: Sequence[Input],
    tokenizer: ChunkTokenizer,
    options: ChunkOptions,
    *,
    most: int | None = None,
) -> list[list[Chunk]]:
    """Return the chunks of every text, at least one each.

    Raises:
        InvalidInput: the prompt and the special tokens leave no room in a chunk, or an input is no
            text, has a lone surrogate or has only white space.
        LimitExceeded: the texts have more than ``most`` chunks together, or one character alone has
            more tokens than ``options.size``.
    """
    added = tokenizer.count("")
    if added >= options.size:
        problem = f"is {options.size}; the prompt and the special tokens alone have {added} tokens"
        raise InvalidInput("size", problem)
    chunks: list[list[Chunk]] = []
    count = 0
    for row, item in enumerate(inputs):
        left = None if most is None else most - count
        chunks.append(_split(f"input[{row}]", item, tokenizer, options, left))
        count += len(chunks[-1])
        if most is not None and count > most:
            unit = "or more chunks, with those of the inputs before"
            raise LimitExceeded(f"input[{row}]", unit, count, most)
    return chunks


def _split(
    field: str, item: Input, tokenizer: ChunkTokenizer, options: ChunkOptions, most: int | None
) -> list[Chunk]:
    if not isinstance(item, str):
        raise InvalidInput(field, f"is of type {type(item).__name__}; only a text has chunks")
    encode(field, item)
    try:
        chunks = split(item, tokenizer, options, most=most)
    except InvalidInput as error:
        raise error.with_field(field) from None
    if not chunks:
        raise InvalidInput(field, "must have a character that is not white space")
    return chunks


def row_of(chunks: Sequence[Sequence[Chunk]], number: int) -> int:
    """Return the row of the text of a chunk, by the number of the chunk among those of all."""
    ends = np.cumsum([len(found) for found in chunks], dtype=np.intp)
    return int(np.searchsorted(ends, number, "right"))


@contextmanager
def naming_texts(chunks: Sequence[Sequence[Chunk]]) -> Iterator[None]:
    """Name the text in errors about a chunk, which is an input of the pipeline in the block."""
    try:
        yield
    except InvalidInput as error:
        named = _INPUT.match(error.field)
        if named is None:
            raise
        row = row_of(chunks, int(named[1]))
        raise error.with_field(f"input[{row}]{error.field[named.end() :]}") from None


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
