"""What every door of the ingress opens on: pipelines over handles, and the index.

Connects to a model when it is first needed, so an ingress is alive, and says what it waits for,
before any model is loaded. Knows nothing of HTTP.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from typing import Any

from pydantic import ValidationError

from deployments.cache.client import RemoteCache
from deployments.index.sharded_client import RemoteIndex
from deployments.ingress.middleware.request_stats import RequestStats
from deployments.ingress.service.collection_model import check_width, connection_for, stored_of
from deployments.ingress.service.connection import Connection, Connector
from deployments.ingress.service.handles import Handles
from deployments.ingress.service.models import ServedModels, ServedState
from deployments.ingress.service.numeric_work import NumericWork
from deployments.ingress.service.readiness import Readiness, StageProbe, readiness
from deployments.ingress.service.replicas import Replicas
from deployments.ingress.service.search_admission import SearchAdmission
from deployments.metrics import CACHE, QUEUES, SHARED_CACHE, MetricPublisher
from deployments.rpc.pickled_rows import PickledRows
from deployments.rpc.replica_name import replica_id
from deployments.settings.models import ModelList
from deployments.settings.service import ServeSettings
from embedder.cache.fail_open import FailOpenCache
from embedder.cache.memory import MemoryCache
from embedder.cache.sharding import ShardedCache
from embedder.cache.store.circuit_breaker import CircuitState
from embedder.core.errors import DeadlineExceeded
from embedder.core.request import Embeddings, EmbedOptions
from embedder.core.time_limit import wait_within
from embedder.core.types import Input, ModelInfo
from embedder.index.contract.points import CollectionInfo, StoredModel
from embedder.inference.tokenization import OffsetToken
from embedder.pipeline.admission_control import AdmissionControl
from embedder.pipeline.threads import QueueStats, summed

logger = logging.getLogger("ray.serve")

ANNOUNCE_EVERY_S = 30.0


class Service:
    """The graph as seen from one ingress replica."""

    def __init__(self, settings: ServeSettings, handles: Handles) -> None:
        self.settings = settings
        self.replica = replica_id()
        self.request_stats = RequestStats()
        self.backlog = AdmissionControl(settings.limits)
        self.numeric_work = NumericWork(settings.limits.max_wait_s)
        self.replicas = Replicas(handles.by_name())
        self.index = RemoteIndex(handles.indexes, settings.limits.max_response_bytes)
        self.search_admission = SearchAdmission(AdmissionControl(settings.limits))
        self.shared_cache = ShardedCache(
            [
                FailOpenCache(
                    RemoteCache(name, handle), name=name, timeout_s=settings.cache.timeout_s
                )
                for name, handle in handles.caches.items()
            ]
        )
        self._local_cache = MemoryCache(settings.cache.near_bytes, ttl_s=settings.cache.ttl_s)
        self._handles = handles
        self._metrics, self._far_metrics = MetricPublisher(CACHE), MetricPublisher(SHARED_CACHE)
        self._queue_metrics = MetricPublisher(QUEUES)
        self._connect = Connector(
            settings, handles, self._local_cache, self.shared_cache, self.backlog
        )
        self._probe = StageProbe(handles)
        self._announce_s = 0.0
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

    def described(self, name: str | None) -> ServedState[Connection]:
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
        deadline = self._deadline(options)
        connection = await self._connection(model, deadline)
        answer = await _embed(connection, inputs, options, deadline)
        return answer if model is None else replace(answer, model=model)

    async def embed_for(
        self,
        collection: CollectionInfo | None,
        texts: Sequence[str],
        options: EmbedOptions,
        *,
        model: str | None = None,
    ) -> tuple[Embeddings, StoredModel]:
        """Embed texts with the model of a collection, and return that model.

        A collection without one takes ``model`` or, where that is None, the first served model.

        Raises:
            ModelMismatch: ``model`` is another than that of the collection, or that is not served.
            InvalidVector: the vectors of the collection have another width.
            EmbedderError: as `embed`.
        """
        self.check_model(model)
        deadline = self._deadline(options)
        connect = partial(self._connection, deadline=deadline)
        connection = await connection_for(collection, model, connect, self._serving)
        answer = await _embed(connection, texts, options, deadline)
        if collection is not None:
            check_width(collection, connection.info)
        return answer, stored_of(connection.info)

    async def tokenize_with_offsets(
        self,
        texts: Sequence[str],
        *,
        model: str | None,
        add_special_tokens: bool,
        deadline: float,
    ) -> list[PickledRows[OffsetToken]]:
        """Return every token of every text with its place there; nothing is cut.

        Raises:
            EmbedderError: as `model`; or the tokenizer does not answer by ``deadline``.
        """
        connection = await self._connection(model, deadline)
        return await connection.tokenizer.tokenize_with_offsets(
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
            EmbedderError: as `tokenize_with_offsets`.
        """
        connection = await self._connection(model, deadline)
        return await connection.tokenizer.decode(
            rows, skip_special_tokens=skip_special_tokens, deadline=deadline
        )

    @property
    def index_names(self) -> tuple[str, ...]:
        """Return the names of the deployments that hold the shards of the index."""
        return tuple(self._handles.indexes)

    async def local_cache_stats(self) -> dict[str, Any]:
        """Return the counters of the cache in this replica, and whose they are."""
        near = self._local_cache
        return {
            **asdict(near.stats),
            "age_s": near.age_s,
            "max_bytes": near.max_bytes,
            "replica": self.replica,
        }

    @property
    def cache_names(self) -> tuple[str, ...]:
        """Return the names of the deployments that hold the shards of the cache."""
        return tuple(self._handles.caches)

    async def clear_local_cache(self, tag: bytes | None = None) -> int:
        """Forget what this replica has cached, or only what is of the model with this tag.

        Returns how many entries that were.
        """
        return self._local_cache.clear() if tag is None else self._local_cache.purge(tag)

    def run_maintenance(self) -> None:
        """Do what is due every few seconds: publish, and tell the cache whose entries come.

        The latter again and again, since a shard that was started anew has forgotten it.
        """
        self._publish()
        now = time.monotonic()
        if now >= self._announce_s:
            self._announce_s = now + ANNOUNCE_EVERY_S
            for state in self.models():
                if state.serving is not None:
                    self._connect.announce(state.serving.pipeline.model)

    @property
    def queues(self) -> list[QueueStats]:
        """Return what waits for threads or for the shards of the index in this replica."""
        tokenizers = {connection.colocated_tokenizer for connection in self._serving()}
        return [
            *self.numeric_work.queues,
            self.search_admission.queue(self.index),
            summed("tokenizer", [one.queue for one in tokenizers]),
        ]

    def _publish(self) -> None:
        self._queue_metrics.publish_queues(self.queues)
        near = self._local_cache
        self._metrics.publish({**asdict(near.stats), "max_bytes": near.max_bytes})
        states = self.shared_cache.states
        self._far_metrics.publish(
            {
                "failures": sum(state.failures for state in states),
                "opened": sum(state.opened for state in states),
                "open": sum(state.circuit is not CircuitState.CLOSED for state in states),
            }
        )

    async def readiness(self) -> Readiness:
        """Return which capabilities can be used; the stages are asked once a second at most."""
        states = await self._probe.states()
        return readiness(
            states, self._models.state(None), self.shared_cache.states, self.index_names
        )

    def _deadline(self, options: EmbedOptions) -> float:
        limit_s = self.settings.limits.request_timeout_s
        given_s = limit_s if options.timeout_s is None else options.timeout_s
        return time.monotonic() + min(given_s, limit_s)

    def _serving(self) -> list[Connection]:
        return [one.serving for one in self._models.states() if one.serving is not None]

    async def _connection(self, name: str | None, deadline: float | None) -> Connection:
        """Return what requests for a model go through, once it is loaded."""
        timeout_s = None if deadline is None else max(0.0, deadline - time.monotonic())
        try:
            return await wait_within(self._models.get(name), timeout_s)
        except asyncio.TimeoutError:
            raise DeadlineExceeded("Encoder") from None


async def _embed(
    connection: Connection, inputs: Sequence[Input], options: EmbedOptions, deadline: float
) -> Embeddings:
    remaining_s = max(0.0, deadline - time.monotonic())
    return await connection.pipeline.embed(inputs, replace(options, timeout_s=remaining_s))
