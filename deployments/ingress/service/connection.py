"""A loaded model as an ingress sees it, and how one comes to be: asked for, connected, and tried.

Knows nothing of names: which model a name stands for is `models`' affair.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from dataclasses import dataclass, field
from functools import partial

from deployments.encoder.client import RemoteEncoder
from deployments.encoder.colocated import ColocatedEncoder
from deployments.ingress.service.handles import Handles
from deployments.rpc.handle_client import Handle, HandleClient
from deployments.settings.service import ServeSettings
from deployments.tokenizer.client import RemoteTokenizer
from deployments.tokenizer.colocated import ColocatedTokenizer
from embedder.cache.archive_format import ArchivedModel
from embedder.cache.memory import MemoryCache
from embedder.cache.sharding import ShardedCache
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
"""How long a shard of the cache may take to hear of a model, while it starts for instance."""


@dataclass(frozen=True, slots=True)
class Connection:
    """What requests for one model go through."""

    pipeline: Pipeline
    tokenizer: RemoteTokenizer
    encoder: RemoteEncoder
    colocated_encoder: ColocatedEncoder
    colocated_tokenizer: ColocatedTokenizer

    @property
    def info(self) -> ModelInfo:
        """Return what is known of the model."""
        return self.pipeline.model

    async def check_tokenizer(self, deadline: float) -> None:
        """Let a tokenizer answer a real question."""
        await self.tokenizer.tokenize(["ready"], truncate=Truncate.END, deadline=deadline)

    async def check_encoder(self, deadline: float) -> None:
        """Let an encoder answer; not through the pipeline, whose cache would answer for it."""
        await self.encoder.encode(
            TokenBatch.of([[0]]), priority=Priority.INTERACTIVE, deadline=deadline
        )


@dataclass(frozen=True, slots=True)
class Connector:
    """Makes connections that share the caches and the backlog of one ingress."""

    settings: ServeSettings
    handles: Handles
    local_cache: MemoryCache
    shared_cache: ShardedCache
    backlog: AdmissionControl
    announcements: set[asyncio.Future[None]] = field(default_factory=set)

    async def __call__(self, model: ModelSettings) -> Connection:
        """Have a model loaded, and return it when tokenizer and encoder have answered for it."""
        settings = self.settings
        deadline = time.monotonic() + settings.load_timeout_s
        handle = self.handles.encoder
        if not model.pinned:
            handle = _to_where_it_is(handle, model)
        info: ModelInfo = await HandleClient("Encoder", handle).call(
            "describe", model, deadline=deadline
        )
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
            partial(_same_tokenizer, model, info),
            max_characters=settings.tokenizer.ingress_characters,
        )
        share = settings.encoder.in_ingress if model.pinned and info.device == "cpu" else "none"
        colocated_encoder = ColocatedEncoder(
            encoder, partial(_same_encoder, settings, model, info), share
        )
        await asyncio.gather(colocated_tokenizer.load(), colocated_encoder.load())
        pipeline = Pipeline(
            info,
            Stages(
                tokenizer=colocated_tokenizer,
                encoder=colocated_encoder,
                local_cache=self.local_cache,
                shared_cache=self.shared_cache,
            ),
            limits=settings.limits,
            computation_timeout_s=settings.limits.request_timeout_s,
            admission=self.backlog,
        )
        connection = Connection(
            pipeline, tokenizer, encoder, colocated_encoder, colocated_tokenizer
        )
        await connection.check_tokenizer(deadline)
        await connection.check_encoder(deadline)
        self.announce(info)
        return connection

    def announce(self, info: ModelInfo) -> None:
        """Let the cache know whose entries come, without waiting: it can do without.

        A shard that knows it already does nothing.
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
            deadline = time.monotonic() + ANNOUNCE_S
            telling = asyncio.ensure_future(
                HandleClient(name, handle).call("serves", model, deadline=deadline)
            )
            # The loop keeps only weak references to tasks.
            self.announcements.add(telling)
            telling.add_done_callback(self.announcements.discard)
            telling.add_done_callback(_log_failure)


def _same_tokenizer(model: ModelSettings, info: ModelInfo) -> FastTokenizer:
    """Load the tokenizer of a model, which must be the one that its encoder was loaded with."""
    files = ModelFiles.open(model)
    if files.tokenizer_digest != info.tokenizer_digest:
        raise ConfigurationError(f"this node has another tokenizer of {info.name!r} than encoders")
    return load_tokenizer(files)


def _same_encoder(settings: ServeSettings, model: ModelSettings, info: ModelInfo) -> LocalEncoder:
    """Load an encoder of a model, whose vectors must be those of its replicas."""
    # What a batch may hold has been measured where the replicas are.
    batching = settings.batching.model_copy(update={"max_tokens": info.max_batch_tokens})
    loaded = load_model(settings.model_copy(update={"model": model, "batching": batching}))
    for what in ("digest", "config_digest", "dtype", "backend", "device"):
        here, there = getattr(loaded.info, what), getattr(info, what)
        if here != there:
            raise ConfigurationError(f"{what} of {info.name!r} is {here!r} here, {there!r} there")
    return LocalEncoder(loaded, batching, device_thread(low_priority=True))


def _log_failure(telling: asyncio.Future[None]) -> None:
    if not telling.cancelled() and (error := telling.exception()):
        logger.warning("the cache was not told of a model: %r", error)


def _to_where_it_is(encoder: Handle, model: ModelSettings) -> Handle:
    """Return a handle whose calls prefer a replica that has loaded the model."""
    digest = hashlib.blake2b(model.key.encode(), digest_size=8).hexdigest()
    return encoder.options(multiplexed_model_id=f"{model_names(model)[0]}-{digest}")
