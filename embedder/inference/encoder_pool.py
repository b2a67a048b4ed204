"""The encoders of several models in one process, loaded on demand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from embedder.batching.batcher import BatcherStats
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
    """One model of an encoder: how far it is and, once it is loaded, what waits and was computed.

    ``waiting`` counts inputs.
    """

    model: ModelState[str]
    waiting: int = 0
    batching: BatcherStats | None = None


class EncoderPool:
    """The encoders of several models on one device; a CPU computes for one of them at a time."""

    def __init__(self, settings: EmbedderSettings) -> None:
        self._settings = settings
        # Cores that compute are wanted by the rest of the service too.
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
        """Load these models and keep them; what was pinned before may go.

        Raises:
            ConfigurationError: one of them cannot be loaded; the others are pinned.
        """
        await self._stages.pin(models)

    async def describe(self, model: ModelSettings) -> ModelInfo:
        """Load a model if need be, and return what the other stages need to know of it."""
        async with self._stages.pool.use(self._stages.key(model)) as encoder:
            return encoder.model

    async def encode(
        self,
        model: ModelSettings,
        tokens: TokenBatch,
        *,
        priority: Priority,
        deadline: float | None,
    ) -> Encoded:
        """Return float32[n, width] of a batch, pooled, before normalisation, in order."""
        async with self._stages.pool.use(self._stages.key(model), deadline) as encoder:
            return await encoder.encode(tokens, priority=priority, deadline=deadline)

    async def unload_idle(self) -> None:
        """Unload what nobody has used for long."""
        await self._stages.pool.unload_idle()

    @property
    def idle(self) -> bool:
        """Tell whether nothing waits and nothing runs, for any model."""
        return all(encoder.batcher.idle for _, encoder in self._encoders())

    @property
    def batches(self) -> int:
        """Return how many batches of the loaded models have ended, well or not."""
        stats = [encoder.batcher.stats for _, encoder in self._encoders()]
        return sum(one.batches + one.failed for one in stats)

    async def probe(self) -> None:
        """Compute one token with one of the loaded models, to see that the device answers."""
        token = TokenBatch.of([[0]])
        for key, encoder in self._encoders()[:1]:
            try:
                await encoder.encode(token, priority=Priority.INTERACTIVE, deadline=None)
            except Unavailable:
                if self._loaded.get(key) is encoder:  # else it had to make room meanwhile
                    raise

    def states(self) -> list[ModelState[str]]:
        """Return what is loaded, being loaded, or failed when last tried."""
        return self._stages.pool.states()

    def stats(self) -> list[EncoderStats]:
        """Return the states with what each loaded model has computed: copies of all counters."""
        batchers = {key: encoder.batcher for key, encoder in self._encoders()}
        return [
            EncoderStats(state, len(batchers[state.key]), replace(batchers[state.key].stats))
            if state.key in batchers
            else EncoderStats(state)
            for state in self.states()
        ]

    def _encoders(self) -> list[tuple[str, LocalEncoder]]:
        # A copy, made in one step: a load puts its encoder in from a thread of its own.
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
        """Return the size of the files: what a load holds at its most, whatever it then keeps.

        The event loop cannot wait for the hub, so of files that are still there the catalogue
        tells the size; without a row it shows once they have been loaded.
        """
        model = self._stages.settings(key)
        try:
            files = ModelFiles.open(model.model_copy(update={"offline": True}))
        except ModelNotFound:
            row = find_row(model.name)
            return 4 * row.parameters if row else 0
        return sum(path.stat().st_size for path in files.weights)
