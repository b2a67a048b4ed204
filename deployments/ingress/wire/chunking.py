"""The field ``chunking`` of requests, and the chunks of their texts.

The tokenizer stage splits the texts: for one of 100,000 characters that takes tenths of a second.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from pydantic import BaseModel, Field

from deployments.ingress.service.connection import Connection
from deployments.ingress.wire.fields import Body
from embedder.chunking.request import MIN_SIZE, Boundaries, Chunk, ChunkOptions, SplitTexts
from embedder.core.deadline import Deadline
from embedder.core.errors import InvalidInput
from embedder.core.request import EmbedOptions
from embedder.core.types import Input
from embedder.models.prompts import select_prompt
from embedder.pipeline.input_checks import check_inputs
from embedder.pipeline.kinds.outputs import check_late
from embedder.settings.model import LimitSettings

DEFAULT_SIZE = 256
OVERLAP_SHARE = 8
"""The default overlap is one in this many tokens of the size."""


class Chunking(Body):
    """How long texts are split into chunks."""

    size: int | None = Field(
        None,
        ge=MIN_SIZE,
        strict=True,
        description="the most tokens of a chunk, special tokens and prompt included, up to the "
        f"model's limit; default: {DEFAULT_SIZE}, or that limit if it is lower",
    )
    overlap: int | None = Field(
        None,
        ge=0,
        strict=True,
        description="the most tokens that a chunk shares with the one before, below size; default: "
        "an eighth of size",
    )
    boundaries: Boundaries = Field(
        "tokens", description="tokens: a chunk ends after a whole word; sentences: after a sentence"
    )
    late: bool = Field(
        False,
        strict=True,
        description="late chunking: the model reads the text as a whole, and the vector of a chunk "
        "is the mean of its own tokens; for a model with mean pooling",
    )

    def options(self, max_tokens: int) -> ChunkOptions:
        """Return the options for a model that reads ``max_tokens``.

        Raises:
            InvalidInput: a value is outside its limits.
        """
        size = min(DEFAULT_SIZE, max_tokens) if self.size is None else self.size
        overlap = size // OVERLAP_SHARE if self.overlap is None else self.overlap
        options = ChunkOptions(size, overlap, self.boundaries, self.late)
        options.check(max_tokens)
        return options


class ChunkRange(BaseModel):
    """The place of a chunk: its number in its text, and its characters ``text[start:end]``.

    Characters are code points of Unicode.
    """

    number: int
    start: int
    end: int
    tokens: int = Field(description="as the model reads it, special tokens and prompt included")


async def split(
    connection: Connection,
    inputs: Sequence[Input],
    chunking: Chunking,
    options: EmbedOptions,
    *,
    limits: LimitSettings,
    deadline: Deadline,
) -> SplitTexts:
    """Return the chunks of every text, as ``connection`` will read them.

    Raises:
        InvalidInput: the chunking or an input is invalid.
        LimitExceeded: a text has too many characters, or all together have more chunks than
            ``limits.max_inputs``.
        EmbedderError: as `Splitting.split`.
    """
    info = connection.info
    with _naming_options():
        chosen = chunking.options(info.max_tokens)
        if chosen.late:
            check_late(info)
        check_inputs(inputs, limits=limits, vocabulary_size=info.vocabulary_size)
        prompt = select_prompt(options, info)
        tokenizer = connection.colocated_tokenizer or connection.tokenizer
        return await tokenizer.split(
            inputs, chosen, prompt=prompt, most=limits.max_inputs, deadline=deadline
        )


def ranges(chunks: Sequence[Chunk]) -> Iterator[dict[str, int]]:
    """Yield the fields of `ChunkRange` for the chunks of one text."""
    for number, one in enumerate(chunks):
        yield {"number": number, "start": one.start, "end": one.stop, "tokens": one.tokens}


@contextmanager
def _naming_options() -> Iterator[None]:
    """Name an option of chunks in errors as the client sends it."""
    try:
        yield
    except InvalidInput as error:
        if error.field not in Chunking.model_fields:
            raise
        raise error.with_field(f"chunking.{error.field}") from None
