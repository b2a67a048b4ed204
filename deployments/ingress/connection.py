"""A loaded model as an ingress sees it, and how one comes to be: asked for, connected, and tried.

Knows nothing of names: which model a name stands for is `models`' affair.
"""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass

from deployments.ingress.handles import Handles
from deployments.remote import Handle, Remote
from deployments.remote_stages import RemoteEncoder, RemoteTokenizer
from deployments.settings import ServeSettings
from embedder.backlog.backlog import Backlog
from embedder.cache.memory import MemoryCache
from embedder.cache.sharding import ShardedCache
from embedder.config import ModelSettings
from embedder.models.catalogue import names
from embedder.pipeline import Pipeline, Stages
from embedder.types import ModelInfo, Priority, TokenBatch, Truncate


@dataclass(frozen=True, slots=True)
class Connection:
    """What requests for one model go through."""

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


@dataclass(frozen=True, slots=True)
class Connecting:
    """Makes connections that share the caches and the backlog of one ingress."""

    settings: ServeSettings
    handles: Handles
    near: MemoryCache
    far: ShardedCache
    backlog: Backlog

    async def __call__(self, model: ModelSettings) -> Connection:
        """Have a model loaded, and return it when tokenizer and encoder have answered for it."""
        settings = self.settings
        deadline = time.monotonic() + settings.load_timeout_s
        handle = self.handles.encoder
        if not model.pinned:
            handle = _to_where_it_is(handle, model)
        info: ModelInfo = await Remote("Encoder", handle).call("describe", model, deadline=deadline)
        tokenizer = RemoteTokenizer(self.handles.tokenizer, settings.tokenizer, model)
        encoder = RemoteEncoder(
            handle, settings.encoder, model, max_batch_tokens=info.max_batch_tokens
        )
        pipeline = Pipeline(
            info,
            Stages(tokenizer=tokenizer, encoder=encoder, near=self.near, far=self.far),
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
