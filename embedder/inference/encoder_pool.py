"""The encoders of several models in one process."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace

from embedder.batching.batcher import BatcherStats
from embedder.batching.work_meter import WorkMeter
from embedder.core.deadline import NEVER, Deadline
from embedder.core.errors import ModelNotFound, Unavailable
from embedder.core.types import Encoded, ModelInfo, Priority, ReplicaLoad, TokenBatch
from embedder.inference.device_thread import device_thread
from embedder.inference.loading import load_model
from embedder.inference.local import LocalEncoder
from embedder.inference.residency import ModelState
from embedder.inference.stage_pool import StagePool
from embedder.measurements.batches import BatchHistograms
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


class EncoderPool(StagePool[LocalEncoder]):
    """The encoders of several models on one device; a CPU computes one batch at a time.

    ``work`` counts the tokens of all of them.
    """

    def __init__(self, settings: EmbedderSettings) -> None:
        # The rest of the service needs the same cores.
        device = device_thread(low_priority=settings.backend.device in ("auto", "cpu"))

        def load(model: ModelSettings) -> LocalEncoder:
            loaded = load_model(settings.model_copy(update={"model": model}))
            histograms = self._histograms[loaded.info.name]
            return LocalEncoder(loaded, settings.batching, device, histograms)

        self.work = WorkMeter()
        self._histograms: defaultdict[str, BatchHistograms] = defaultdict(BatchHistograms)
        super().__init__(
            load,
            unload=LocalEncoder.close,
            size=lambda encoder: encoder.model.memory_bytes,
            estimate=_weight_bytes,
            max_bytes=settings.pool.max_bytes,
            settings=settings.pool,
        )

    async def describe(self, model: ModelSettings) -> ModelInfo:
        """Load a model if necessary, and return its description."""
        async with self.use(model) as encoder:
            return encoder.model

    async def encode(
        self, model: ModelSettings, tokens: TokenBatch, *, priority: Priority, deadline: Deadline
    ) -> Encoded:
        """Return float32[n, width]: the pooled vectors of a batch in order, not normalized."""
        count = int(tokens.lengths.sum())
        with self.work.queued(count):
            async with self.use(model, deadline) as encoder:
                with self.work.computed(count):
                    return await encoder.encode(tokens, priority=priority, deadline=deadline)

    def replica_load(self, replica: str, model: ModelSettings) -> ReplicaLoad:
        """Return the load of this process under the name of its replica.

        Until enough has been computed, the rate is that of the model's batches at its load.
        """
        rate = self.work.tokens_per_s or _tuned_rate(self.loaded.get(model.key))
        return ReplicaLoad(replica, self.work.queued_tokens, rate)

    @property
    def tuned_tokens_per_s(self) -> float:
        """Return the rate of full batches that was measured at a load; 0.0 if none was."""
        return max(map(_tuned_rate, self.loaded.values()), default=0.0)

    @property
    def idle(self) -> bool:
        """Return whether no model has a waiting or running batch."""
        return all(encoder.batcher.idle for encoder in self.loaded.values())

    @property
    def batches(self) -> int:
        """Return the number of finished batches of the loaded models, failed ones included."""
        stats = [encoder.batcher.stats for encoder in self.loaded.values()]
        return sum(counts.batches + counts.failed for counts in stats)

    async def probe(self) -> None:
        """Compute one token with a loaded model, to check that the device works."""
        token = TokenBatch.of([[0]])
        for key, encoder in list(self.loaded.items())[:1]:
            try:
                await encoder.encode(token, priority=Priority.INTERACTIVE, deadline=NEVER)
            except Unavailable:
                if self.loaded.get(key) is encoder:  # otherwise the model was evicted meanwhile
                    raise

    def stats(self) -> list[EncoderStats]:
        """Return the state of each model with a copy of its counters."""
        batchers = {key: encoder.batcher for key, encoder in self.loaded.items()}
        return [
            EncoderStats(state, len(batchers[state.key]), replace(batchers[state.key].stats))
            if state.key in batchers
            else EncoderStats(state)
            for state in self.states()
        ]


def _tuned_rate(encoder: LocalEncoder | None) -> float:
    return 0.0 if encoder is None or encoder.tuning is None else encoder.tuning.tokens_per_s


def _weight_bytes(model: ModelSettings) -> int:
    """Return the size of the weight files, which is the peak of a load.

    The event loop cannot wait for the hub. If the files are not on this machine yet, the catalogue
    gives the size; without a row it is unknown (0) until the model is loaded.
    """
    try:
        files = ModelFiles.open(model.model_copy(update={"offline": True}))
    except ModelNotFound:
        row = find_row(model.name)
        return 4 * row.parameters if row else 0
    return sum(path.stat().st_size for path in files.weights)
