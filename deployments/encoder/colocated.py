"""An encoder in the process of its caller.

On a CPU a call to a replica costs as much as encoding a sentence. Batches that the encoder does not
take, or fails to encode, go to the Encoder deployment.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Protocol

from deployments.encoder.agreement import SAME_BITS, difference
from deployments.settings.placement import Placement
from deployments.settings.service import ServeSettings
from embedder.batching.batcher import BatcherStats
from embedder.batching.stages import BatchingEncoder
from embedder.core.deadline import Deadline
from embedder.core.errors import ConfigurationError, DeadlineExceeded
from embedder.core.protocols import Encoding
from embedder.core.types import Encoded, ModelInfo, Priority, TokenBatch
from embedder.inference.device_thread import device_thread
from embedder.inference.loading import LoadedBackend, load_model
from embedder.inference.local import LocalEncoder
from embedder.settings.model import ModelSettings

logger = logging.getLogger("ray.serve")


class RemoteStage(Encoding, Protocol):
    """The encoders of the deployments."""

    @property
    def idle(self) -> bool:
        """Return whether nothing waits or runs."""


def load_unmeasured(settings: ServeSettings, model: ModelSettings) -> LoadedBackend:
    """Load a model without measuring its batch limit.

    Raises:
        ConfigurationError: the model cannot be loaded here.
    """
    batching = settings.batching.model_copy(update={"autotune_s": 0})
    return load_model(settings.model_copy(update={"model": model, "batching": batching}))


class ColocatedEncoder:
    """Encodes the batches of its placement by ``local``, and the others by ``remote``."""

    def __init__(self, remote: RemoteStage, local: BatchingEncoder, placement: Placement) -> None:
        self.local = local
        self._remote = remote
        self._takes_all = placement == "colocated"

    @classmethod
    def of(
        cls, remote: RemoteStage, loaded: LoadedBackend, settings: ServeSettings, info: ModelInfo
    ) -> ColocatedEncoder:
        """Encode with a model of this process that encoder replicas have loaded as ``info``.

        Raises:
            ConfigurationError: it may compute other vectors than the encoder replicas.
        """
        if problem := difference(SAME_BITS, loaded.info, info):
            raise ConfigurationError(problem)
        # The batch limit was measured by the encoder replicas.
        limit = info.max_batch_tokens
        loaded = replace(loaded, info=replace(loaded.info, max_batch_tokens=limit))
        batching = settings.batching.model_copy(update={"max_tokens": limit})
        local = LocalEncoder(loaded, batching, device_thread(low_priority=True))
        return cls(remote, local, settings.encoder.placement)

    @property
    def stats(self) -> BatcherStats:
        """Return a copy of the statistics of this process's encoder."""
        return replace(self.local.batcher.stats)

    async def encode(
        self, tokens: TokenBatch, *, priority: Priority, deadline: Deadline
    ) -> Encoded:
        """Return float32[n, width], pooled, before normalisation, in order; and its timings."""
        if self._takes_all or (self.local.idle and self._remote.idle):
            try:
                return await self.local.encode(tokens, priority=priority, deadline=deadline)
            except DeadlineExceeded:
                raise
            except Exception as error:  # noqa: BLE001 - the deployment may succeed
                logger.warning(
                    "the colocated encoder failed, the batch goes on to the Encoder: %r", error
                )
        return await self._remote.encode(tokens, priority=priority, deadline=deadline)
