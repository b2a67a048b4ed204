"""The encoders of several models in one process, loaded on demand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from embedder.batching.batcher import BatcherStats
from embedder.core.deadline import NEVER, Deadline
from embedder.core.errors import ModelNotFound, Unavailable
from embedder.core.types import Encoded, ModelInfo, Priority, TokenBatch
from embedder.inference.loading import load_model
from embedder.inference.local import LocalEncoder, device_thread
from embedder.inference.pinned_pool import PinnedPool
from embedder.inference.pool import ModelPool
from embedder.inference.residency import ModelState
from embedder.models.catalogue import find_row
from embedder.models.files import ModelFiles
from embedder.settings.model import EmbedderSettings, ModelSettings


@dataclass(frozen=True, slots=True)
class EncoderStats:
    """The state of one model and, if it is loaded, its statistics.

    ``waiting`` is the number of inputs in its queue.
    """

    model: ModelState[str]
    waiting: int = 0
    batching: BatcherStats | None = None


class EncoderPool:
    """The encoders of several models on one device; a CPU computes one batch at a time."""

    def __init__(self, settings: EmbedderSettings) -> None:
        self._settings = settings
        # The rest of the service needs the same cores.
        self._device = device_thread(low_priority=settings.backend.device in ("auto", "cpu"))
        self._loaded: dict[str, LocalEncoder] = {}
        self._stages: PinnedPool[LocalEncoder] = PinnedPool(
            ModelPool(
                self._load,
                unload=self._unload,
                size=lambda encoder: encoder.model.memory_bytes,
                estimate=self._estimate,
                max_bytes=settings.pool.max_bytes,
                idle_unload_s=settings.pool.idle_unload_s,
            )
        )

    async def pin(self, models: Sequence[ModelSettings]) -> None:
        """Load and pin these models, and unpin all others.

        Raises:
            ConfigurationError: a model cannot be loaded; the other models are pinned.
        """
        await self._stages.pin(models)

    async def describe(self, model: ModelSettings) -> ModelInfo:
        """Load a model if necessary, and return its description."""
        async with self._stages.pool.use(self._stages.key(model)) as encoder:
            return encoder.model

    async def encode(
        self,
        model: ModelSettings,
        tokens: TokenBatch,
        *,
        priority: Priority,
        deadline: Deadline,
    ) -> Encoded:
        """Return float32[n, width]: the pooled vectors of a batch in order, not normalized."""
        async with self._stages.pool.use(self._stages.key(model), deadline) as encoder:
            return await encoder.encode(tokens, priority=priority, deadline=deadline)

    async def unload_idle(self) -> None:
        """Unload models that have not been used for ``pool.idle_unload_s``."""
        await self._stages.pool.unload_idle()

    @property
    def idle(self) -> bool:
        """Return whether no model has a waiting or running batch."""
        return all(encoder.batcher.idle for _, encoder in self._encoders())

    @property
    def batches(self) -> int:
        """Return the number of finished batches of the loaded models, failed ones included."""
        stats = [encoder.batcher.stats for _, encoder in self._encoders()]
        return sum(counts.batches + counts.failed for counts in stats)

    async def probe(self) -> None:
        """Compute one token with a loaded model, to check that the device works."""
        token = TokenBatch.of([[0]])
        for key, encoder in self._encoders()[:1]:
            try:
                await encoder.encode(token, priority=Priority.INTERACTIVE, deadline=NEVER)
            except Unavailable:
                if self._loaded.get(key) is encoder:  # otherwise the model was evicted meanwhile
                    raise

    def states(self) -> list[ModelState[str]]:
        """Return the state of each model that waits, loads, is ready, or failed to load."""
        return self._stages.pool.states()

    def stats(self) -> list[EncoderStats]:
        """Return the state of each model with a copy of its counters."""
        batchers = {key: encoder.batcher for key, encoder in self._encoders()}
        return [
            EncoderStats(state, len(batchers[state.key]), replace(batchers[state.key].stats))
            if state.key in batchers
            else EncoderStats(state)
            for state in self.states()
        ]

    def _encoders(self) -> list[tuple[str, LocalEncoder]]:
        # An atomic copy: a loading thread may insert its encoder at any time.
        return list(self._loaded.items())

    def _load(self, key: str) -> LocalEncoder:
        model = self._stages.settings(key)
        loaded = load_model(self._settings.model_copy(update={"model": model}))
        self._loaded[key] = LocalEncoder(loaded, self._settings.batching, self._device)
        return self._loaded[key]

    def _unload(self, encoder: LocalEncoder) -> None:
        encoder.close()
        for key, one in self._encoders():
            if one is encoder:
                del self._loaded[key]

    def _estimate(self, key: str) -> int:
        """Return the size of the weight files, which is the peak of a load.

        The event loop cannot wait for the hub. If the files are not on this machine yet, the
        catalogue gives the size; without a row it is unknown (0) until the model is loaded.
        """
        model = self._stages.settings(key)
        try:
            files = ModelFiles.open(model.model_copy(update={"offline": True}))
        except ModelNotFound:
            row = find_row(model.name)
            return 4 * row.parameters if row else 0
        return sum(path.stat().st_size for path in files.weights)
