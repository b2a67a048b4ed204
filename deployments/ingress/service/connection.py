"""Connects an ingress to a model: has it loaded, builds its pipeline, and tests its stages."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from dataclasses import dataclass, field
from functools import partial

from deployments.encoder.client import RemoteEncoder
from deployments.encoder.colocated import ColocatedEncoder
from deployments.ingress.service.caches import IngressCaches
from deployments.ingress.service.handles import Handles
from deployments.rpc.handle_client import Handle, HandleClient
from deployments.settings.service import ServeSettings
from deployments.tokenizer.client import RemoteTokenizer
from deployments.tokenizer.colocated import ColocatedTokenizer
from embedder.cache.archive_format import ArchivedModel
from embedder.core.deadline import Deadline
from embedder.core.errors import ConfigurationError
from embedder.core.types import ModelInfo, Priority, TokenBatch, Truncate
from embedder.inference.loading import load_model, load_tokenizer
from embedder.inference.local import LocalEncoder, device_thread
from embedder.inference.tokenization import FastTokenizer
from embedder.models.catalogue import model_names
from embedder.models.files import ModelFiles
from embedder.pipeline.admission_control import AdmissionControl
from embedder.pipeline.fingerprint import model_tag
from embedder.pipeline.pipeline import Pipeline
from embedder.pipeline.stage_executor import Stages
from embedder.settings.model import ModelSettings

logger = logging.getLogger("ray.serve")

ANNOUNCE_S = 10.0
"""Seconds that a cache shard, which may be starting, may take to accept an announcement."""


@dataclass(frozen=True, slots=True)
class Connection:
    """The pipeline and the stages of one loaded model."""

    pipeline: Pipeline
    tokenizer: RemoteTokenizer
    encoder: RemoteEncoder
    colocated_encoder: ColocatedEncoder
    colocated_tokenizer: ColocatedTokenizer

    @property
    def info(self) -> ModelInfo:
        """Return the description of the model."""
        return self.pipeline.model

    async def check_tokenizer(self, deadline: Deadline) -> None:
        """Tokenize one text.

        Raises:
            EmbedderError: the tokenizer fails.
        """
        await self.tokenizer.tokenize(["ready"], truncate=Truncate.END, deadline=deadline)

    async def check_encoder(self, deadline: Deadline) -> None:
        """Encode one token; not through the pipeline, where the cache may answer.

        Raises:
            EmbedderError: the encoder fails.
        """
        await self.encoder.encode(
            TokenBatch.of([[0]]), priority=Priority.INTERACTIVE, deadline=deadline
        )


@dataclass(frozen=True, slots=True)
class Connector:
    """Makes connections that share the caches and the admission control of one ingress."""

    settings: ServeSettings
    handles: Handles
    caches: IngressCaches
    admission: AdmissionControl
    announcements: set[asyncio.Future[None]] = field(default_factory=set)

    async def __call__(self, model: ModelSettings) -> Connection:
        """Have a model loaded, and return its connection once both stages have answered."""
        settings = self.settings
        deadline = Deadline.after(settings.load_timeout_s)
        handle = self.handles.encoder
        if not model.pinned:
            handle = _preferring_loaded(handle, model)
        info: ModelInfo = await HandleClient("Encoder", handle).call(
            "describe", model, deadline=deadline
        )
        connection = await self._connection(handle, model, info)
        await connection.check_tokenizer(deadline)
        await connection.check_encoder(deadline)
        self.announce(info)
        return connection

    async def _connection(
        self, handle: Handle, model: ModelSettings, info: ModelInfo
    ) -> Connection:
        """Return the connection to a loaded model, once its colocated stages have loaded."""
        settings = self.settings
        tokenizer = RemoteTokenizer(
            self.handles.tokenizer, settings.tokenizer, model, settings.batching
        )
        encoder = RemoteEncoder(
            handle,
            settings.encoder,
            model,
            settings.batching,
            max_batch_tokens=info.max_batch_tokens,
            width=info.width,
        )
        colocated_tokenizer = ColocatedTokenizer(
            tokenizer,
            partial(_load_tokenizer, model, info),
            settings.tokenizer.placement,
        )
        colocated_encoder = ColocatedEncoder(
            encoder,
            partial(_load_encoder, settings, model, info),
            settings.encoder.placement if model.pinned and info.device == "cpu" else "remote",
        )
        await asyncio.gather(colocated_tokenizer.load(), colocated_encoder.load())
        pipeline = Pipeline(
            info,
            Stages(
                tokenizer=colocated_tokenizer,
                encoder=colocated_encoder,
                local_cache=self.caches.local,
                shared_cache=self.caches.shared,
            ),
            limits=settings.limits,
            computation_timeout_s=settings.limits.request_timeout_s,
            admission=self.admission,
        )
        return Connection(pipeline, tokenizer, encoder, colocated_encoder, colocated_tokenizer)

    def announce(self, info: ModelInfo) -> None:
        """Announce a model to the cache shards, in the background and without retries.

        A shard that knows the model does nothing.
        """
        model = ArchivedModel(
            tag=model_tag(info).hex(),
            name=info.name,
            repository=info.repository,
            revision=info.revision,
            dtype=info.dtype,
            width=info.width,
        )
        for name, handle in self.handles.caches.items():
            deadline = Deadline.after(ANNOUNCE_S)
            announcement = asyncio.ensure_future(
                HandleClient(name, handle).call("serves", model, deadline=deadline)
            )
            # The loop keeps only weak references to tasks.
            self.announcements.add(announcement)
            announcement.add_done_callback(self.announcements.discard)
            announcement.add_done_callback(_log_failure)


def _load_tokenizer(model: ModelSettings, info: ModelInfo) -> FastTokenizer:
    """Load the tokenizer of a model.

    Raises:
        ConfigurationError: it is not the tokenizer of the encoder replicas.
    """
    files = ModelFiles.open(model)
    if files.tokenizer_digest != info.tokenizer_digest:
        raise ConfigurationError(f"this node has another tokenizer of {info.name!r} than encoders")
    return load_tokenizer(files)


def _load_encoder(settings: ServeSettings, model: ModelSettings, info: ModelInfo) -> LocalEncoder:
    """Load an encoder of a model.

    Raises:
        ConfigurationError: it may compute other vectors than the encoder replicas.
    """
    # The batch limit was measured by the encoder replicas.
    batching = settings.batching.model_copy(update={"max_tokens": info.max_batch_tokens})
    loaded = load_model(settings.model_copy(update={"model": model, "batching": batching}))
    for what in ("digest", "config_digest", "dtype", "backend", "device"):
        here, there = getattr(loaded.info, what), getattr(info, what)
        if here != there:
            raise ConfigurationError(f"{what} of {info.name!r} is {here!r} here, {there!r} there")
    return LocalEncoder(loaded, batching, device_thread(low_priority=True))


def _log_failure(announcement: asyncio.Future[None]) -> None:
    if not announcement.cancelled() and (error := announcement.exception()):
        logger.warning("a model was not announced to the cache: %r", error)


def _preferring_loaded(encoder: Handle, model: ModelSettings) -> Handle:
    """Return a handle whose calls prefer a replica that has loaded a model."""
    digest = hashlib.blake2b(model.key.encode(), digest_size=8).hexdigest()
    return encoder.options(multiplexed_model_id=f"{model_names(model)[0]}-{digest}")
