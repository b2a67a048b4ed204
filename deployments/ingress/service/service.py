"""The service of one ingress replica: pipelines over handles, the caches and the index."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from pydantic import ValidationError

from deployments.index.sharded_client import RemoteIndex
from deployments.ingress.middleware.large_bodies import LargeBodies
from deployments.ingress.middleware.request_stats import RequestStats
from deployments.ingress.service.caches import IngressCaches
from deployments.ingress.service.collection_model import check_width, connection_for, stored_of
from deployments.ingress.service.connection import Connection, Connector
from deployments.ingress.service.handles import Handles
from deployments.ingress.service.models import ServedModels, ServedState
from deployments.ingress.service.numeric_work import NumericWork
from deployments.ingress.service.readiness import Readiness, StageProbe, readiness
from deployments.ingress.service.replicas import Replicas
from deployments.ingress.service.search_admission import SearchAdmission
from deployments.metrics import QUEUES, MetricPublisher
from deployments.rpc.pickled_rows import PickledRows
from deployments.rpc.replica_name import replica_id
from deployments.settings.models import ModelList
from deployments.settings.service import ServeSettings
from embedder.core.deadline import NEVER, Deadline
from embedder.core.errors import DeadlineExceeded
from embedder.core.request import Embeddings, EmbedOptions
from embedder.core.types import Input, ModelInfo
from embedder.index.contract.points import CollectionInfo, StoredModel
from embedder.inference.tokenization import OffsetToken
from embedder.pipeline.admission_control import AdmissionControl
from embedder.pipeline.threads import QueueStats, summed

logger = logging.getLogger("ray.serve")

ANNOUNCE_EVERY_S = 30.0


class Service:
    """What the routes and the handle of one ingress replica call."""

    def __init__(self, settings: ServeSettings, handles: Handles) -> None:
        self.settings = settings
        self.replica = replica_id()
        self.request_stats = RequestStats()
        self.admission = AdmissionControl(settings.limits)
        self.large_bodies = LargeBodies(settings.limits.max_wait_s)
        self.numeric_work = NumericWork(settings.limits.max_wait_s)
        self.replicas = Replicas(handles.by_name())
        self.index = RemoteIndex(handles.indexes, settings.limits.max_response_bytes)
        self.search_admission = SearchAdmission(AdmissionControl(settings.limits))
        self.caches = IngressCaches(settings.cache, handles.caches)
        self._handles = handles
        self._queue_metrics = MetricPublisher(QUEUES)
        self._connect = Connector(settings, handles, self.caches, self.admission)
        self._probe = StageProbe(handles)
        self._announce_s = 0.0
        self._models: ServedModels[Connection] = ServedModels(self._connect)

    def configure(self, user_config: Mapping[str, Any]) -> None:
        """Serve the models of a ``user_config``; requests in progress end on their model.

        Raises:
            pydantic.ValidationError: it is not a list of models, and no model is served yet.
        """
        try:
            models = ModelList.model_validate(user_config).models
        except ValidationError as error:
            if not self._models.states():
                raise
            logger.error("user_config is wrong, the models stay as they are: %s", error)
            return
        self._models.configure(models)

    async def model(self, name: str | None, *, deadline: Deadline = NEVER) -> ModelInfo:
        """Return the description of a served model; load the model if necessary.

        Raises:
            UnknownModel: as `check_model`.
            DeadlineExceeded: it has not been loaded by ``deadline``.
            EmbedderError: it cannot be loaded.
        """
        return (await self._connection(name, deadline)).pipeline.model

    def models(self) -> list[ServedState[Connection]]:
        """Return the state of every served model, in the configured order."""
        return self._models.states()

    def described(self, name: str | None) -> ServedState[Connection]:
        """Return the state of one served model, loaded or not.

        Raises:
            UnknownModel: as `check_model`.
        """
        return self._models.state(name)

    def check_model(self, name: str | None) -> None:
        """Check that a model is served.

        Raises:
            UnknownModel: ``name`` is neither None nor a name of a served model.
        """
        self._models.check(name)

    def deadline(self, timeout_s: float | None) -> Deadline:
        """Return the deadline of a call by handle, at most ``request_timeout_s`` from now."""
        limit_s = self.settings.limits.request_timeout_s
        return Deadline.after(limit_s if timeout_s is None else min(timeout_s, limit_s))

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
        self.check_model(model)
        connection = await self._connection(model, deadline)
        answer = await connection.pipeline.embed(inputs, options, deadline)
        return answer if model is None else replace(answer, model=model)

    async def embed_for(
        self,
        collection: CollectionInfo | None,
        texts: Sequence[str],
        options: EmbedOptions,
        deadline: Deadline,
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
        connect = partial(self._connection, deadline=deadline)
        connection = await connection_for(collection, model, connect, self._serving)
        answer = await connection.pipeline.embed(texts, options, deadline)
        if collection is not None:
            check_width(collection, connection.info)
        return answer, stored_of(connection.info)

    async def tokenize_with_offsets(
        self,
        texts: Sequence[str],
        *,
        model: str | None,
        add_special_tokens: bool,
        deadline: Deadline,
    ) -> list[PickledRows[OffsetToken]]:
        """Return every token of every text with its offsets; texts are not truncated.

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
        deadline: Deadline,
    ) -> list[str]:
        """Return the text of every row of token ids.

        Raises:
            InvalidInput: an id is not in the vocabulary; the error names it ``ids[row][column]``.
            EmbedderError: as `tokenize_with_offsets`.
        """
        tokenizer = (await self._connection(model, deadline)).tokenizer
        return await tokenizer.decode(
            rows, skip_special_tokens=skip_special_tokens, deadline=deadline
        )

    @property
    def index_names(self) -> tuple[str, ...]:
        """Return the deployment names of the index shards."""
        return tuple(self._handles.indexes)

    async def local_cache_stats(self) -> dict[str, Any]:
        """Return the counters of the local cache, and the name of this replica."""
        return {**self.caches.local_stats(), "replica": self.replica}

    @property
    def cache_names(self) -> tuple[str, ...]:
        """Return the deployment names of the cache shards."""
        return tuple(self._handles.caches)

    async def clear_local_cache(self, tag: bytes | None = None) -> int:
        """Clear the local cache, or the entries of the model with this tag; return their number."""
        return self.caches.clear_local(tag)

    def run_maintenance(self) -> None:
        """Publish metrics, and announce the loaded models to the cache shards.

        Announcements are repeated, because a restarted shard does not know the models.
        """
        self._queue_metrics.publish_queues(self.queues)
        self.caches.publish()
        if (now := time.monotonic()) >= self._announce_s:
            self._announce_s = now + ANNOUNCE_EVERY_S
            for connection in self._serving():
                self._connect.announce(connection.pipeline.model)

    @property
    def queues(self) -> list[QueueStats]:
        """Return the statistics of the queues for threads and for the index shards."""
        tokenizers = {connection.colocated_tokenizer for connection in self._serving()}
        return [
            self.large_bodies.stats,
            *self.numeric_work.queues,
            self.search_admission.queue(self.index),
            summed("tokenizer", [one.queue for one in tokenizers]),
        ]

    async def readiness(self) -> Readiness:
        """Return which capabilities can be used; stages are called at most once a second."""
        states = await self._probe.states()
        default = self._models.state(None)
        return readiness(states, default, self.caches.shared.states, self.index_names)

    def _serving(self) -> list[Connection]:
        return [one.serving for one in self._models.states() if one.serving is not None]

    async def _connection(self, name: str | None, deadline: Deadline) -> Connection:
        """Return the connection of a model, once it has loaded."""
        try:
            async with deadline.limit():
                return await self._models.get(name)
        except asyncio.TimeoutError:
            raise DeadlineExceeded("Encoder") from None
