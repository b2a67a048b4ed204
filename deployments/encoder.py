"""The Encoder deployment: a shim that runs the library's encoder and its batcher as replicas."""

from __future__ import annotations

import time

from deployments.settings import ServeSettings
from embedder.local import LocalEncoder
from embedder.types import ModelInfo, Priority, TokenBatch, Vectors

STUCK_S = 60.0
"""Longer than any batch takes, a large model on a slow core included."""


class EncoderReplica:
    """Turns packed tokens into vectors on one device.

    The constructor returns when the model has computed a batch, so a replica that Serve calls
    running is one that answers.
    """

    def __init__(self, settings: ServeSettings) -> None:
        self._encoder = LocalEncoder.load(settings)
        self._batches_seen = 0
        self._progress_s = time.monotonic()

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
        """Fail when work is there and no batch has ended for `STUCK_S`.

        Idle, a batch of one token is computed, so a broken device does not stay green.
        """
        batcher = self._encoder.batcher
        if batcher.idle:
            await self._encoder.encode(
                TokenBatch.of([[0]]), priority=Priority.INTERACTIVE, deadline=None
            )
        now, ended = time.monotonic(), batcher.stats.batches + batcher.stats.failed
        if batcher.idle or ended != self._batches_seen:
            self._batches_seen, self._progress_s = ended, now
        elif now - self._progress_s > STUCK_S:
            raise RuntimeError(f"no batch has ended for {now - self._progress_s:.0f} s")
