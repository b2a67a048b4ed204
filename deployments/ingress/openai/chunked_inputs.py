"""The inputs of a request as they are embedded: as they came, or as the chunks of its texts."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

from deployments.ingress.service.service import Service
from deployments.ingress.wire.chunking import Chunking, ranges, split
from deployments.ingress.wire.formats import Format
from embedder.chunking.request import Chunk
from embedder.chunking.texts import chunk_texts, naming_texts
from embedder.core.deadline import Deadline
from embedder.core.errors import InvalidInput
from embedder.core.outputs import Task
from embedder.core.request import EmbedOptions
from embedder.core.types import Input


@dataclass(frozen=True, slots=True)
class ChunkedInputs:
    """The inputs to embed, each one row of the response.

    ``fields`` are the further fields of each row; without chunks there are none.
    """

    inputs: Sequence[Input]
    fields: Sequence[dict[str, Any]] = ()
    chunks: Sequence[list[Chunk]] = ()

    @classmethod
    async def of(
        cls,
        inputs: Sequence[Input],
        chunking: Chunking | None,
        options: EmbedOptions,
        model: str | None,
        service: Service,
        deadline: Deadline,
    ) -> ChunkedInputs:
        """Split the texts of a request, if it asks for chunks.

        Raises:
            EmbedderError: as `deployments.ingress.wire.chunking.split`.
        """
        if chunking is None:
            return cls(inputs)
        chunks = await split(
            await service.models.get(model, deadline, task=Task.EMBED),
            inputs,
            chunking,
            options,
            limits=service.settings.limits,
            deadline=deadline,
        )
        fields = [
            {"chunk": {"input": row, **place}}
            for row, found in enumerate(chunks)
            for place in ranges(found)
        ]
        return cls(chunk_texts(inputs, chunks), fields, chunks)

    def naming(self) -> AbstractContextManager[None]:
        """Name the input of the client in errors of the block."""
        return naming_texts(self.chunks) if self.chunks else nullcontext()

    def add_fields(self, rows: Sequence[dict[str, Any]], first: int = 0) -> list[dict[str, Any]]:
        """Return rows of the response, the first of which has the number ``first``."""
        if not self.chunks:
            return list(rows)
        more = self.fields[first : first + len(rows)]
        return [row | fields for row, fields in zip(rows, more, strict=True)]


def check_format(chunking: Chunking | None, kind: Format) -> None:
    """Refuse chunks in a format that has no place for their ranges.

    Raises:
        InvalidInput: the request asks for chunks and for bytes.
    """
    if chunking is not None and kind not in (Format.JSON, Format.NDJSON):
        problem = f"needs an answer of JSON for its ranges; the header Accept asks for {kind.value}"
        raise InvalidInput("chunking", problem)
