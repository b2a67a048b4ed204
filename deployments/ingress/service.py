"""What every door of the ingress opens on: pipelines over handles, and the index.

Connects to a model when it is first needed, so an ingress is alive, and says what it waits for,
before any model is loaded. Knows nothing of HTTP.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from pydantic import ValidationError

from deployments.ingress.graph import Graph
from deployments.ingress.models import ServedModels, ServedState
from deployments.ingress.traffic import Traffic
from deployments.remote import (
    Handle,
    Remote,
    RemoteCache,
    RemoteEncoder,
    RemoteIndex,
    RemoteTokenizer,
)
from deployments.replica import replica_id
from deployments.settings import ModelList, ServeSettings
from embedder.backlog.backlog import Backlog
from embedder.cache.failopen import FailOpenCache
from embedder.cache.memory import MemoryCache
from embedder.config import ModelSettings
from embedder.errors import ConfigurationError, DeadlineExceeded, EmbedderError
from embedder.models.catalogue import names
from embedder.pipeline import Pipeline, Stages
from embedder.request import Embeddings, EmbedOptions
from embedder.tokenization import Piece
from embedder.types import Input, ModelInfo, Priority, TokenBatch, Truncate

logger = logging.getLogger("ray.serve")

READY_TIMEOUT_S = 5.0
"""How long one stage may take to answer a readiness probe."""


@dataclass(frozen=True, slots=True)
class Connection:
    """One loaded model as an ingress sees it."""

    pipeline: Pipeline
    tokenizer: RemoteTokenizer
    encoder: RemoteEncoder

    async def check_tokenizer(self, deadline: float) -> None:
        """Let a tokenizer answer a real question."""
        await self.tokenizer.tokenize(["ready"], truncate=Truncate.END, deadline=deadline)

    async def check_encoder(self, deadline: float) -> None:
        """Let an encoder answer; not through the pipeline, whose cache would answer for it."""
        await self.encoder.encode(
            TokenBatch.of([[0]]), priority=Priority.INTERACTIVE, deadline=deadline
        )


class Service:
    """The graph as seen from one ingress replica; ``ingress`` is the handle to all of them."""

    def __init__(
        self,
        settings: ServeSettings,
        *,
        tokenizer: Handle,
        encoder: Handle,
        cache: Handle,
        index: Handle,
        ingress: Handle,
    ) -> None:
        self.settings = settings
        self.replica = replica_id()
        self.graph = Graph(
            {
                "Ingress": ingress,
                "Tokenizer": tokenizer,
                "Encoder": encoder,
                "EmbeddingCache-0": cache,
                "VectorIndex-0": index,
            }
        )
        self.traffic = Traffic()
        self.backlog = Backlog(settings.limits)
        self.index = RemoteIndex(index)
        self._cache = RemoteCache(cache)
        self._near = MemoryCache(settings.near_cache_bytes)
        self.far = FailOpenCache(self._cache, timeout_s=settings.cache_timeout_s)
        self._tokenizer = tokenizer
        self._encoder = encoder
        self._models: ServedModels[Connection] = ServedModels(self._connect)

    def configure(self, user_config: Mapping[str, Any]) -> None:
        """Serve the models of a ``user_config`` from now on; requests in progress go on.

        Raises:
            pydantic.ValidationError: it is no list of models, and none is served yet.
        """
        try:
            models = ModelList.model_validate(user_config).models
        except ValidationError as error:
            if not self._models.states():
                raise
            logger.error("user_config is wrong, the models stay as they are: %s", error)
            return
        self._models.configure(models)

    async def model(self, name: str | None, *, deadline: float | None = None) -> ModelInfo:
        """Return what is known of a served model, which is loaded if need be.

        Raises:
            UnknownModel: as `check_model`.
            DeadlineExceeded: it has not been loaded by ``deadline``.
            EmbedderError: it cannot be loaded.
        """
        return (await self._connection(name, deadline)).pipeline.model

    def models(self) -> list[ServedState[Connection]]:
        """Return every served model, in the configured order."""
        return self._models.states()

    def described(self, name: str) -> ServedState[Connection]:
        """Return what is known of one served model, loaded or not.

        Raises:
            UnknownModel: as `check_model`.
        """
        return self._models.state(name)

    def check_model(self, name: str | None) -> None:
        """Refuse a model that is not served.

        Raises:
            UnknownModel: ``name`` is neither None nor a name of a served model.
        """
        self._models.check(name)

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
        connection = await self._connection(model, deadline)
        remaining_s = max(0.0, deadline - time.monotonic())
        return await connection.pipeline.embed(inputs, replace(options, timeout_s=remaining_s))

    async def pieces(
        self,
        texts: Sequence[str],
        *,
        model: str | None,
        add_special_tokens: bool,
        deadline: float,
    ) -> list[list[Piece]]:
        """Return every token of every text with its place there; nothing is cut.

        Raises:
            EmbedderError: as `model`; or the tokenizer does not answer by ``deadline``.
        """
        connection = await self._connection(model, deadline)
        return await connection.tokenizer.pieces(
            texts, add_special_tokens=add_special_tokens, deadline=deadline
        )

    async def decode(
        self,
        rows: Sequence[Sequence[int]],
        *,
        model: str | None,
        skip_special_tokens: bool,
        deadline: float,
    ) -> list[str]:
        """Return the text of every row of token ids.

        Raises:
            InvalidInput: an id is not of the vocabulary; the error names it ``ids[row][place]``.
            EmbedderError: as `pieces`.
        """
        connection = await self._connection(model, deadline)
        return await connection.tokenizer.decode(
            rows, skip_special_tokens=skip_special_tokens, deadline=deadline
        )

    async def near_cache(self) -> dict[str, Any]:
        """Return the counters of the cache in this replica, and whose they are."""
        near = self._near
        return {**asdict(near.stats), "max_bytes": near.max_bytes, "replica": self.replica}

    async def clear_near_cache(self) -> int:
        """Forget what this replica has cached and return how many entries that were."""
        return self._near.clear()

    async def readiness(self) -> dict[str, str]:
        """Ask every stage a real question; return each one's name with ``ready`` or its problem."""
        checks: dict[str, Callable[[float], Awaitable[None]]] = {
            "Tokenizer": self._check_tokenizer,
            "Encoder": self._check_encoder,
            "EmbeddingCache-0": self._check_cache,
            "VectorIndex-0": self._check_index,
        }
        answers = await asyncio.gather(*(_probe(check) for check in checks.values()))
        return dict(zip(checks, answers, strict=True))

    # Not through a connection: while one stage is gone there may be none to ask the other by.
    async def _check_tokenizer(self, deadline: float) -> None:
        await Remote("Tokenizer", self._tokenizer).call(
            "tokenize", self._default, ["ready"], Truncate.END, deadline=deadline
        )

    async def _check_encoder(self, deadline: float) -> None:
        await Remote("Encoder", self._encoder).call(
            "encode",
            self._default,
            TokenBatch.of([[0]]),
            Priority.INTERACTIVE,
            READY_TIMEOUT_S,
            deadline=deadline,
        )

    @property
    def _default(self) -> ModelSettings:
        """Return the settings of what answers where a request names no model."""
        return self._models.state(None).settings

    async def _check_cache(self, deadline: float) -> None:
        await self._cache.stats(deadline)

    async def _check_index(self, deadline: float) -> None:
        await self.index.collections(deadline)

    async def _connection(self, name: str | None, deadline: float | None) -> Connection:
        """Return what requests for a model go through, once it is loaded."""
        timeout_s = None if deadline is None else max(0.0, deadline - time.monotonic())
        try:
            return await asyncio.wait_for(self._models.get(name), timeout_s)
        except asyncio.TimeoutError:
            raise DeadlineExceeded("Encoder") from None

    async def _connect(self, model: ModelSettings) -> Connection:
        """Have a model loaded, and return it when tokenizer and encoder have answered for it."""
        settings = self.settings
        deadline = time.monotonic() + settings.load_timeout_s
        handle = self._encoder if model.pinned else _to_where_it_is(self._encoder, model)
        info: ModelInfo = await Remote("Encoder", handle).call("describe", model, deadline=deadline)
        tokenizer = RemoteTokenizer(self._tokenizer, settings.tokenizer, model)
        encoder = RemoteEncoder(
            handle, settings.encoder, model, max_batch_tokens=info.max_batch_tokens
        )
        pipeline = Pipeline(
            info,
            Stages(tokenizer=tokenizer, encoder=encoder, near=self._near, far=self.far),
            limits=settings.limits,
            flight_timeout_s=settings.limits.request_timeout_s,
            backlog=self.backlog,
        )
        connection = Connection(pipeline, tokenizer, encoder)
        await connection.check_tokenizer(deadline)
        await connection.check_encoder(deadline)
        return connection


def _to_where_it_is(encoder: Handle, model: ModelSettings) -> Handle:
    """Return a handle whose calls prefer a replica that has loaded the model."""
    digest = hashlib.blake2b(model.key.encode(), digest_size=8).hexdigest()
    return encoder.options(multiplexed_model_id=f"{names(model)[0]}-{digest}")


async def _probe(check: Callable[[float], Awaitable[None]]) -> str:
    deadline = time.monotonic() + READY_TIMEOUT_S
    try:
        await asyncio.wait_for(check(deadline), READY_TIMEOUT_S)
    except asyncio.TimeoutError:
        return f"no answer within {READY_TIMEOUT_S:.0f} s"
    except ConfigurationError:  # its sentence is the operator's, and may hold paths
        return "the model cannot be loaded; the log says why"
    except EmbedderError as error:
        return str(error)
    return "ready"
