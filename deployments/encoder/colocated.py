"""An encoder in the ingress: a call to a replica costs as much as a sentence does on a CPU.

What it does not take, and whatever it fails with, goes to the stage. Knows nothing of pipelines.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Literal

from embedder.batching.batcher import BatcherStats
from embedder.batching.stages import BatchingEncoder
from embedder.core.errors import DeadlineExceeded
from embedder.core.types import Encoded, Priority, TokenBatch

logger = logging.getLogger("ray.serve")

Share = Literal["none", "idle", "all"]
"""What the ingress encodes itself: nothing, what comes while nothing is computed, or everything."""


class ColocatedEncoder:
    """Encode a share of the batches in this process, the others by ``stage``.

    ``load`` is called in a thread of its own; until it has returned, and for ever if it fails,
    everything goes to the stage.
    """

    def __init__(
        self, stage: BatchingEncoder, load: Callable[[], BatchingEncoder], share: Share
    ) -> None:
        self._stage = stage
        self._load = load
        self._share = share
        self._near: BatchingEncoder | None = None

    @property
    def stats(self) -> BatcherStats | None:
        """Return a copy of what was computed in this process; None where nothing can be."""
        return None if self._near is None else replace(self._near.batcher.stats)

    async def load(self) -> None:
        """Load the encoder, if there is anything that it may do."""
        if self._share == "none":
            return
        try:
            self._near = await asyncio.to_thread(self._load)
        except Exception as error:  # noqa: BLE001 - the stage does the same, only farther away
            logger.warning("no encoder in the ingress, the Encoder does it all: %r", error)

    async def encode(
        self, tokens: TokenBatch, *, priority: Priority, deadline: float | None
    ) -> Encoded:
        """Return float32[n, width], pooled, before normalisation, in order; and its timings."""
        near = self._near
        if near is not None and (self._share == "all" or self._is_idle(near)):
            try:
                return await near.encode(tokens, priority=priority, deadline=deadline)
            except DeadlineExceeded:
                raise
            except Exception as error:  # noqa: BLE001 - the stage may still have an answer
                logger.warning("the encoder in the ingress failed, the Encoder tries: %r", error)
        return await self._stage.encode(tokens, priority=priority, deadline=deadline)

    def _is_idle(self, near: BatchingEncoder) -> bool:
        return near.batcher.idle and self._stage.batcher.idle
