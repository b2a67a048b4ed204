"""Upserts of documents: each text is split into chunks, which are stored as points.

`embedder.index.contract.documents` describes the points.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from deployments.ingress.collections.bodies import PointBody, StoredChunk, UpsertAnswer, UpsertBody
from deployments.ingress.middleware.context import RequestContext
from deployments.ingress.service.collection_model import TextVectors, connection_for
from deployments.ingress.service.connection import Connection
from deployments.ingress.service.service import Service
from deployments.ingress.wire.chunking import Chunking, ranges, split
from deployments.ingress.wire.field_names import rename_input_errors
from deployments.ingress.wire.inputs import check_count
from embedder.chunking.request import Chunk, SplitTexts
from embedder.chunking.texts import chunk_texts, naming_texts, row_of
from embedder.core.deadline import Deadline
from embedder.core.errors import InvalidInput
from embedder.core.request import EmbedOptions
from embedder.core.types import Priority
from embedder.index.contract.checks import check_metadata
from embedder.index.contract.documents import CHUNK, check_documents, chunk_id
from embedder.index.contract.points import CollectionInfo, Points

OPTIONS = EmbedOptions(priority=Priority.BULK)

_POINT = re.compile(r"points\[(\d+)\]")


@dataclass(frozen=True, slots=True)
class Documents:
    """The documents of one request, as ``bodies`` with a text each."""

    bodies: Sequence[PointBody]
    texts: list[str]

    @classmethod
    def of(cls, bodies: Sequence[PointBody]) -> Documents:
        """Check the documents of a request.

        Raises:
            InvalidInput: an id or metadata is invalid, or a document has no text, or a vector.
        """
        texts: list[str] = []
        for row, body in enumerate(bodies):
            if body.vector is not None:
                problem = "cannot stand beside 'chunking': a chunk has the vector of its text"
                raise InvalidInput(f"points[{row}].vector", problem)
            if body.text is None:
                raise InvalidInput(f"points[{row}]", "must have a text, because of 'chunking'")
            texts.append(body.text)
        check_metadata([body.metadata for body in bodies])
        check_documents([body.id for body in bodies], [body.metadata for body in bodies])
        return cls(bodies, texts)

    async def upsert(
        self,
        name: str,
        body: UpsertBody,
        chunking: Chunking,
        service: Service,
        context: RequestContext,
    ) -> UpsertAnswer:
        """Store the chunks of all documents in place of their earlier chunks.

        Raises:
            EmbedderError: as `split`, `Service.embed_for` and `RemoteIndex.put`.
        """
        deadline = context.deadline

        async def upsert(collection: CollectionInfo | None) -> tuple[list[StoredChunk], int]:
            connection = await connection_for(service.models, collection, body.model, deadline)
            split = await self._split(connection, chunking, service, deadline)
            chunks = split.chunks
            texts = [str(text) for text in chunk_texts(self.texts, chunks)]
            check_count("points", len(texts), service.settings.limits.max_points)
            with rename_input_errors("points", self._text_field), naming_texts(chunks):
                if split.windows is None:
                    found = await service.embed_for(
                        collection, texts, OPTIONS, deadline, model=body.model
                    )
                else:
                    found = await service.embed_windows_for(
                        collection, texts, split.windows, connection, OPTIONS, deadline
                    )
            stored = self._stored(chunks)
            points = self._points(stored, texts, found)
            with _naming_documents(chunks):
                put = service.index.put(name, points, found.model, deadline, collection)
                return stored, await put

        stored, sequence = await service.index.collection_cache.run(
            name, upsert, deadline=deadline, texts=True
        )
        return UpsertAnswer(upserted=len(stored), sequence=sequence, chunks=stored)

    async def _split(
        self, connection: Connection, chunking: Chunking, service: Service, deadline: Deadline
    ) -> SplitTexts:
        """Return the chunks of every text, as the model of the collection will read them."""
        limits = service.settings.limits
        with rename_input_errors("points", self._text_field):
            return await split(
                connection, self.texts, chunking, OPTIONS, limits=limits, deadline=deadline
            )

    def _text_field(self, row: int) -> str:
        return f"points[{row}].text"

    def _stored(self, chunks: Sequence[Sequence[Chunk]]) -> list[StoredChunk]:
        return [
            StoredChunk(id=chunk_id(body.id, place["number"]), document=body.id, **place)
            for body, found in zip(self.bodies, chunks, strict=True)
            for place in ranges(found)
        ]

    def _points(
        self, stored: Sequence[StoredChunk], texts: Sequence[str], found: TextVectors
    ) -> Points:
        metadata = {body.id: body.metadata for body in self.bodies}
        return Points(
            ids=[one.id for one in stored],
            vectors=found.vectors,
            sparse=found.sparse,
            texts=texts,
            metadata=[metadata[one.document] | {CHUNK: one.place()} for one in stored],
            documents=[body.id for body in self.bodies],
        )


@contextmanager
def _naming_documents(chunks: Sequence[Sequence[Chunk]]) -> Iterator[None]:
    """Name the document of the client in errors about the points of its chunks."""
    try:
        yield
    except InvalidInput as error:
        named = _POINT.match(error.field)
        if named is None:
            raise
        row = row_of(chunks, int(named[1]))
        field = f"points[{row}]{error.field[named.end() :]}".replace(".vector", ".text")
        raise error.with_field(field) from None
