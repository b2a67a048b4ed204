"""The Encoder deployment: a shim that runs the library's encoders and batchers as replicas."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from ray import serve

from deployments.rpc.model_updates import ModelUpdates
from deployments.rpc.replica_log import log_refusals_briefly
from deployments.rpc.replica_name import ReplicaStats, replica_id
from deployments.settings.service import ServeSettings
from embedder.core.types import Encoded, ModelInfo, Priority, TokenBatch
from embedder.inference.encoder_pool import EncoderPool, EncoderStats
from embedder.settings.model import ModelSettings

STUCK_S = 60.0
"""Longer than any batch takes, a large model on a slow core included."""


class EncoderReplica:
    """Turns packed tokens into vectors on one device, for several models.

    Serve calls a replica running when its first `reconfigure` has returned: then every pinned
    model has computed a batch. A pinned model is on every replica, so its calls go to the least
    busy one. Any other is announced where it has been loaded, and its calls go there.
    """

    def __init__(self, settings: ServeSettings) -> None:
        log_refusals_briefly()
        self._encoders = EncoderPool(settings)
        self._pinned = ModelUpdates(self._encoders)
        self._batches_seen = 0
        self._progress_s = time.monotonic()

    async def reconfigure(self, user_config: Mapping[str, Any]) -> None:
        """Load the pinned models; called at the start and at every change."""
        await self._pinned.apply(user_config)

    async def describe(self, model: ModelSettings) -> ModelInfo:
        """Return what the other stages need to know of a model, which is loaded if need be."""
        info = await self._encoders.describe(model)
        await self._announce()
        return info

    async def stats(self) -> ReplicaStats[EncoderStats]:
        """Return what this replica has loaded, is loading, or failed to load, and what it did."""
        return ReplicaStats(replica_id(), self._encoders.stats())

    async def encode(
        self, model: ModelSettings, tokens: TokenBatch, priority: Priority, timeout_s: float | None
    ) -> Encoded:
        """Return float32[n, width], pooled, before normalisation, in order."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        encoded = await self._encoders.encode(model, tokens, priority=priority, deadline=deadline)
        await self._announce()
        return encoded

    async def _announce(self) -> None:
        """Let Serve send further calls for the model of this call here."""
        if name := serve.get_multiplexed_model_id():
            await self._announced(name)

    @serve.multiplexed(max_num_models_per_replica=-1)  # type: ignore[untyped-decorator]
    async def _announced(self, name: str) -> str:
        # Serve keeps what this returns; the models themselves are kept by bytes, elsewhere.
        return name

    async def check_health(self) -> None:
        """Fail when work is there and no batch has ended for `STUCK_S`; unload what is idle.

        Without work a batch of one token is computed, so a broken device does not stay green.
        """
        encoders = self._encoders
        await encoders.unload_idle()
        if encoders.idle:
            await encoders.probe()
        now, ended = time.monotonic(), encoders.batches
        if encoders.idle or ended != self._batches_seen:
            self._batches_seen, self._progress_s = ended, now
        elif now - self._progress_s > STUCK_S:
            raise RuntimeError(f"no batch has ended for {now - self._progress_s:.0f} s")
