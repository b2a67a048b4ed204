"""What every door of the ingress opens on: the pipeline over handles, and the index.

Connects when it is first needed, so an ingress is alive, and says what it waits for, before the
model is loaded. Knows nothing of HTTP.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

from deployments.remote import (
    Handle,
    Remote,
    RemoteCache,
    RemoteEncoder,
    RemoteIndex,
    RemoteTokenizer,
)
from deployments.settings import ServeSettings
from embedder.cache.failopen import FailOpenCache
from embedder.cache.memory import MemoryCache
from embedder.errors import DeadlineExceeded, EmbedderError, UnknownModel
from embedder.models.catalogue import find
from embedder.pipeline import Pipeline, Stages
from embedder.request import Embeddings, EmbedOptions
from embedder.types import Input, ModelInfo, Priority, TokenBatch, Truncate

READY_TIMEOUT_S = 5.0
"""How long one stage may take to answer a readiness probe."""


class Service:
    """The graph as seen from one ingress replica."""

    def __init__(
        self,
        settings: ServeSettings,
        *,
        tokenizer: Handle,
        encoder: Handle,
        cache: Handle,
        index: Handle,
    ) -> None:
        self.settings = settings
        self.index = RemoteIndex(index)
        self._cache = RemoteCache(cache)
        self._tokenizer = RemoteTokenizer(tokenizer, settings.tokenizer)
        self._encoder_handle = encoder
        self._connecting: asyncio.Task[_Connection] | None = None

    def deadline(self) -> float:
        """Return when a request that begins now is given up, on ``time.monotonic``."""
        return time.monotonic() + self.settings.limits.request_timeout_s

    async def model(self, name: str | None) -> ModelInfo:
        """Return the served model.

        Raises:
            UnknownModel: as `check_model`.
        """
        self.check_model(name)
        return (await self._connection()).pipeline.model

    async def embed(
        self, inputs: Sequence[Input], options: EmbedOptions, *, model: str | None = None
    ) -> Embeddings:
        """Embed the inputs within the request deadline.

        Raises:
            EmbedderError: as `Pipeline.embed`; or the model is not served here.
        """
        self.check_model(model)
        limit_s = self.settings.limits.request_timeout_s
        timeout_s = limit_s if options.timeout_s is None else min(options.timeout_s, limit_s)
        deadline = time.monotonic() + timeout_s
        try:
            connection = await asyncio.wait_for(self._connection(), timeout_s)
        except asyncio.TimeoutError:
            raise DeadlineExceeded("Encoder") from None
        remaining_s = max(0.0, deadline - time.monotonic())
        return await connection.pipeline.embed(inputs, replace(options, timeout_s=remaining_s))

    async def readiness(self) -> dict[str, str]:
        """Ask every stage a real question; return each one's name with ``ready`` or its problem."""
        names = ("Tokenizer", "Encoder", "EmbeddingCache-0", "VectorIndex-0")
        checks = (self._check_tokenizer, self._check_encoder, self._check_cache, self._check_index)
        answers = await asyncio.gather(*(_probe(check) for check in checks))
        return dict(zip(names, answers, strict=True))

    async def _check_tokenizer(self, deadline: float) -> None:
        await self._tokenizer.tokenize(["ready"], truncate=Truncate.END, deadline=deadline)

    async def _check_encoder(self, deadline: float) -> None:
        # Not through the pipeline: its cache would answer for an encoder that is gone.
        connection = await self._connection()
        await connection.encoder.encode(
            TokenBatch.of([[0]]), priority=Priority.INTERACTIVE, deadline=deadline
        )

    async def _check_cache(self, deadline: float) -> None:
        await self._cache.stats(deadline)

    async def _check_index(self, deadline: float) -> None:
        await self.index.collections(deadline)

    def check_model(self, name: str | None) -> None:
        """Refuse a model that is not served.

        Raises:
            UnknownModel: ``name`` is neither None nor a name of the served model.
        """
        served = self.settings.model.name
        row = find(served)
        names = {served, row.alias, row.repository} if row else {served}
        if name is not None and name not in names:
            raise UnknownModel("model", name)

    async def _connection(self) -> _Connection:
        """Return the connection, made once; a failed attempt is followed by another."""
        task = self._connecting
        if task is None or (task.done() and (task.cancelled() or task.exception() is not None)):
            task = self._connecting = asyncio.ensure_future(self._connect())
        return await asyncio.shield(task)

    async def _connect(self) -> _Connection:
        settings = self.settings
        model: ModelInfo = await Remote("Encoder", self._encoder_handle).call(
            "describe", deadline=self.deadline()
        )
        encoder = RemoteEncoder(self._encoder_handle, settings.encoder, model)
        stages = Stages(
            tokenizer=self._tokenizer,
            encoder=encoder,
            near=MemoryCache(settings.near_cache_bytes),
            far=FailOpenCache(self._cache, timeout_s=settings.cache_timeout_s),
        )
        pipeline = Pipeline(
            model,
            stages,
            limits=settings.limits,
            flight_timeout_s=settings.limits.request_timeout_s,
        )
        return _Connection(pipeline, encoder)


class _Connection:
    """What can only be made once the encoder has described its model."""

    def __init__(self, pipeline: Pipeline, encoder: RemoteEncoder) -> None:
        self.pipeline = pipeline
        self.encoder = encoder


async def _probe(check: Callable[[float], Awaitable[None]]) -> str:
    deadline = time.monotonic() + READY_TIMEOUT_S
    try:
        await asyncio.wait_for(check(deadline), READY_TIMEOUT_S)
    except asyncio.TimeoutError:
        return f"no answer within {READY_TIMEOUT_S:.0f} s"
    except EmbedderError as error:
        return str(error)
    return "ready"
