"""The Encoder deployment: a shim that runs the library's encoder and its batcher as replicas."""

from __future__ import annotations

import time

from deployments.settings import ServeSettings
from embedder.local import LocalEncoder
from embedder.types import ModelInfo, Priority, TokenBatch, Vectors


class EncoderReplica:
    """Turns packed tokens into vectors on one device.

    The constructor returns when the model has computed a batch, so a replica that Serve calls
    running is one that answers.
    """

    def __init__(self, settings: ServeSettings) -> None:
        self._encoder = LocalEncoder.load(settings)
        self._batches_at_last_check = 0

    async def describe(self) -> ModelInfo:
        """Return what the other stages need to know of the model."""
        return self._encoder.model

    async def encode(
        self, tokens: TokenBatch, priority: Priority, timeout_s: float | None
    ) -> Vectors:
        """Return float32[n, width], pooled, before normalisation, in order."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        return await self._encoder.encode(tokens, priority=priority, deadline=deadline)

    async def check_health(self) -> None:
        """Fail when work is waiting and no batch has ended since the last check.

        Idle, a batch of one token is computed instead, so a broken device does not stay green.
        """
        batcher = self._encoder.batcher
        ended = batcher.stats.batches
        if batcher.idle:
            await self._encoder.encode(
                TokenBatch.of([[0]]), priority=Priority.INTERACTIVE, deadline=None
            )
        elif ended == self._batches_at_last_check:
            raise RuntimeError("no batch has ended since the last health check")
        self._batches_at_last_check = ended
