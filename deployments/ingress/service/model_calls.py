"""The work of the served models, as routes and handles ask for it."""

from __future__ import annotations

from collections.abc import Awaitable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from deployments.ingress.middleware.context import CURRENT_REQUEST
from deployments.ingress.middleware.request_stats import MAX_UNCOUNTED
from deployments.ingress.service.collection_model import (
    STORED_KINDS,
    TextVectors,
    check_width,
    connection_for,
)
from deployments.ingress.service.connection import Connection
from deployments.ingress.service.models import ServedModels
from deployments.ingress.service.reports.token_usage import TokenUsage
from embedder.core.deadline import NEVER, Deadline
from embedder.core.errors import UnsupportedTask
from embedder.core.outputs import OutputKind, RaggedRows, Task
from embedder.core.pairs import ChunkTokens
from embedder.core.request import Embeddings, EmbedOptions, Outputs, Scores
from embedder.core.types import Input, ModelInfo, Priority
from embedder.index.contract.points import CollectionInfo
from embedder.index.contract.sparse import SparseVector, vectors_of
from embedder.pipeline.kinds.outputs import chunk_embeddings

AnswerT = TypeVar("AnswerT", Embeddings, Scores, Outputs)

TASKS: Mapping[OutputKind, Task] = {
    OutputKind.DENSE: Task.EMBED,
    OutputKind.SPARSE: Task.EMBED_SPARSE,
    OutputKind.TOKENS: Task.EMBED_TOKENS,
}
"""The task of computing a kind of results."""


class ModelCalls:
    """The calls of an ingress whose models compute.

    ``token_usage`` counts the tokens of every answer.
    """

    models: ServedModels[Connection]
    token_usage: TokenUsage

    async def model(
        self, name: str | None, *, task: Task | None = None, deadline: Deadline = NEVER
    ) -> ModelInfo:
        """Return the description of a served model; load the model if necessary.

        Raises:
            EmbedderError: as `ServedModels.get`.
        """
        return (await self.models.get(name, deadline, task=task)).info

    async def embed(
        self,
        inputs: Sequence[Input],
        options: EmbedOptions,
        deadline: Deadline,
        *,
        model: str | None = None,
    ) -> Embeddings:
        """Embed the inputs by the deadline of the request.

        Raises:
            EmbedderError: as `Pipeline.embed`; or the model is not served here.
        """
        connection = await self.models.get(model, deadline, task=Task.EMBED)
        answer = await self.embed_by(connection, inputs, options, deadline)
        return answer if model is None else replace(answer, model=model)

    async def score(
        self,
        inputs: Sequence[Input],
        options: EmbedOptions,
        deadline: Deadline,
        *,
        model: str | None = None,
        task: Task = Task.CLASSIFY,
        raw: bool = False,
    ) -> Scores:
        """Score the inputs, pairs too, by the deadline of the request.

        ``task`` is what the model must be able to do: `Task.CLASSIFY`, or `Task.RERANK`.

        Raises:
            EmbedderError: as `Pipeline.score`; or the model is not served here.
        """
        connection = await self.models.get(model, deadline, task=task)
        work = connection.pipeline.score(inputs, options, deadline, raw=raw)
        answer = await self.counted(connection, options.priority, work)
        return answer if model is None else replace(answer, model=model)

    async def connection(
        self, model: str | None, kinds: Collection[OutputKind], deadline: Deadline
    ) -> Connection:
        """Return the connection of a model that computes all of these kinds; load it if necessary.

        Without a name it is the first served model that does.

        Raises:
            EmbedderError: as `ServedModels.get`.
        """
        tasks = [TASKS[kind] for kind in kinds]
        names = [model]
        if model is None and len(tasks) > 1:
            names = [state.name for state in self.models.states()]
        for name in names:
            try:
                for task in tasks:  # by what is known, before anything is loaded
                    self.models.check(name, task)
                found = [await self.models.get(name, deadline, task=task) for task in tasks]
            except UnsupportedTask:
                if model is not None or len(tasks) == 1:
                    raise
            else:
                return found[-1]
        raise UnsupportedTask("model", " and ".join(task.value for task in tasks), None)

    async def outputs_of(
        self,
        connection: Connection,
        inputs: Sequence[Input],
        kinds: Collection[OutputKind],
        options: EmbedOptions,
        deadline: Deadline,
    ) -> Outputs:
        """Compute results of several kinds by a connected model.

        Raises:
            EmbedderError: as `Pipeline.outputs`.
        """
        work = connection.pipeline.outputs(inputs, kinds, options, deadline)
        return await self.counted(connection, options.priority, work)

    async def embed_for(
        self,
        collection: CollectionInfo | None,
        texts: Sequence[str],
        options: EmbedOptions,
        deadline: Deadline,
        *,
        model: str | None = None,
        sparse: bool = True,
    ) -> TextVectors:
        """Embed texts with the model of a collection.

        A collection without one takes ``model`` or, where that is None, the first that embeds.
        With ``sparse``, a model that computes sparse weights computes them in the same pass.

        Raises:
            ModelMismatch: ``model`` is another than that of the collection, or that is not served.
            InvalidVector: the vectors of the collection have another width.
            EmbedderError: as `embed`.
        """
        self.models.check(model, Task.EMBED)
        connection = await connection_for(self.models, collection, model, deadline)
        if sparse and OutputKind.SPARSE in connection.info.outputs:
            answer = await self.outputs_of(connection, texts, STORED_KINDS, options, deadline)
            found = TextVectors.of(answer, connection.stored)
        else:
            work = connection.pipeline.embed(texts, options, deadline)
            vectors = (await self.counted(connection, options.priority, work)).vectors
            found = TextVectors(vectors, (), connection.stored)
        if collection is not None:
            check_width(collection, connection.info)
        return found

    async def embed_by(
        self,
        connection: Connection,
        inputs: Sequence[Input],
        options: EmbedOptions,
        deadline: Deadline,
    ) -> Embeddings:
        """Embed the inputs by a connected model; of `ChunkTokens`, every chunk.

        Raises:
            EmbedderError: as `Pipeline.embed`.
        """
        if inputs and isinstance(inputs[0], ChunkTokens):
            chunks = (OutputKind.CHUNKS,)
            return chunk_embeddings(
                await self.outputs_of(connection, inputs, chunks, options, deadline)
            )
        work = connection.pipeline.embed(inputs, options, deadline)
        return await self.counted(connection, options.priority, work)

    async def embed_windows_for(
        self,
        collection: CollectionInfo | None,
        texts: Sequence[str],
        windows: Sequence[ChunkTokens],
        connection: Connection,
        options: EmbedOptions,
        deadline: Deadline,
    ) -> TextVectors:
        """Embed the chunks in ``windows`` (late chunking) for a collection; ``texts`` are theirs.

        Sparse weights are those of each chunk alone.

        Raises:
            InvalidVector: the vectors of the collection have another width.
            EmbedderError: as `embed_by`.
        """
        if collection is not None:
            check_width(collection, connection.info)
        vectors = (await self.embed_by(connection, windows, options, deadline)).vectors
        sparse: Sequence[SparseVector] = ()
        if OutputKind.SPARSE in connection.info.outputs:
            kinds = (OutputKind.SPARSE,)
            found = await self.outputs_of(connection, texts, kinds, options, deadline)
            rows = found.rows[OutputKind.SPARSE]
            assert isinstance(rows, RaggedRows), "sparse rows have lengths of their own"
            sparse = vectors_of(rows)
        return TextVectors(vectors, sparse, connection.stored)

    async def counted(
        self, connection: Connection, priority: Priority, work: Awaitable[AnswerT]
    ) -> AnswerT:
        """Await the work of a pipeline, and count its tokens for model and key."""
        name, request = connection.info.name, CURRENT_REQUEST.get()
        if request is not None:
            request.served_model, request.priority = name, priority
        answer = await work
        usage = self.token_usage
        usage.answered.append((name, None if request is None else request.key, answer.token_counts))
        if len(usage.answered) >= MAX_UNCOUNTED:
            usage.count()
        return answer
