"""The texts of a request that asks for chunks, as the inputs that are embedded."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from deployments.ingress.middleware.context import RequestContext
from deployments.ingress.openai.embedding_bodies import EmbeddingsRequest
from deployments.ingress.service.connection import Connection
from deployments.ingress.wire.chunking import Chunking, ranges, split
from deployments.ingress.wire.formats import Format
from embedder.chunking.request import Chunk
from embedder.chunking.texts import chunk_texts, naming_texts
from embedder.core.deadline import Deadline
from embedder.core.errors import InvalidInput
from embedder.core.request import EmbedOptions
from embedder.core.types import Input
from embedder.settings.model import LimitSettings


@dataclass(frozen=True, slots=True)
class ChunkedInputs:
    """The chunks to embed, each one row of the response, of which ``fields`` has further fields.

    ``inputs`` are the texts of the chunks or, for late chunking, the windows that have them.
    ``chunks`` are those of each text.
    """

    inputs: Sequence[Input]
    fields: list[dict[str, Any]]
    chunks: list[list[Chunk]]

    @classmethod
    async def of(
        cls,
        inputs: Sequence[Input],
        chunking: Chunking,
        options: EmbedOptions,
        connection: Connection,
        *,
        limits: LimitSettings,
        deadline: Deadline,
    ) -> ChunkedInputs:
        """Split the texts of a request as the model of a connection will read them.

        Raises:
            EmbedderError: as `deployments.ingress.wire.chunking.split`.
        """
        found = await split(connection, inputs, chunking, options, limits=limits, deadline=deadline)
        chunks = found.chunks
        fields = [
            {"chunk": {"input": row, **place}}
            for row, of_text in enumerate(chunks)
            for place in ranges(of_text)
        ]
        rows = chunk_texts(inputs, chunks) if found.windows is None else found.windows
        return cls(rows, fields, chunks)

    def naming(self) -> AbstractContextManager[None]:
        """Name the input of the client in errors of the block."""
        return naming_texts(self.chunks)

    def add_fields(self, rows: Sequence[dict[str, Any]], first: int = 0) -> list[dict[str, Any]]:
        """Return rows of the response, the first of which has the number ``first``."""
        more = self.fields[first : first + len(rows)]
        return [row | fields for row, fields in zip(rows, more, strict=True)]


async def chunked_inputs(
    body: EmbeddingsRequest,
    chunking: Chunking,
    connection: Connection,
    limits: LimitSettings,
    context: RequestContext,
) -> ChunkedInputs:
    """Return the chunks of the texts of a request.

    Raises:
        EmbedderError: as `ChunkedInputs.of`.
    """
    options, deadline = body.options(), context.deadline
    return await ChunkedInputs.of(
        body.input, chunking, options, connection, limits=limits, deadline=deadline
    )


def check_format(kind: Format) -> None:
    """Refuse chunks in a format that has no place for their ranges.

    Raises:
        InvalidInput: the client accepts bytes alone.
    """
    if kind not in (Format.JSON, Format.NDJSON):
        problem = f"needs an answer of JSON for its ranges; the header Accept asks for {kind.value}"
        raise InvalidInput("chunking", problem)
