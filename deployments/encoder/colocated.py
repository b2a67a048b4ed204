"""An encoder in the ingress process: on a CPU a call to a replica costs as much as a sentence.

Batches that it does not take, or fails to encode, go to the Encoder deployment.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace

from deployments.settings.placement import Placement
from embedder.batching.batcher import BatcherStats
from embedder.batching.stages import BatchingEncoder
from embedder.core.deadline import Deadline
from embedder.core.errors import DeadlineExceeded
from embedder.core.types import Encoded, Priority, TokenBatch

logger = logging.getLogger("ray.serve")


class ColocatedEncoder:
    """Encodes the batches of its placement in this process, and the others by ``stage``.

    ``load`` runs in a separate thread. Until it returns, or if it fails, all batches go to the
    stage.
    """

    def __init__(
        self, stage: BatchingEncoder, load: Callable[[], BatchingEncoder], placement: Placement
    ) -> None:
        self._stage = stage
        self._load = load
        self._placement = placement
        self._near: BatchingEncoder | None = None

    @property
    def stats(self) -> BatcherStats | None:
        """Return a copy of the statistics of this process's encoder; None if it has no encoder."""
        return None if self._near is None else replace(self._near.batcher.stats)

    async def load(self) -> None:
        """Load the encoder, unless all batches go to the stage."""
        if self._placement == "remote":
            return
        try:
            self._near = await asyncio.to_thread(self._load)
        except Exception as error:  # noqa: BLE001 - the stage can do the same work
            logger.warning("no encoder in the ingress, all batches go to the Encoder: %r", error)

    async def encode(
        self, tokens: TokenBatch, *, priority: Priority, deadline: Deadline
    ) -> Encoded:
        """Return float32[n, width], pooled, before normalisation, in order; and its timings."""
        near = self._near
        if near is not None and (self._placement == "colocated" or self._is_idle(near)):
            try:
                return await near.encode(tokens, priority=priority, deadline=deadline)
            except DeadlineExceeded:
                raise
            except Exception as error:  # noqa: BLE001 - the stage may succeed
                logger.warning(
                    "the encoder in the ingress failed, the batch goes on to the Encoder: %r", error
                )
        return await self._stage.encode(tokens, priority=priority, deadline=deadline)

    def _is_idle(self, near: BatchingEncoder) -> bool:
        return near.batcher.idle and self._stage.batcher.idle
