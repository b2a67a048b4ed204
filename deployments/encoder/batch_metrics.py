"""The metrics of the batches that the encoders of one process compute."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from weakref import WeakKeyDictionary

from deployments.metrics.encoding import BATCHES
from deployments.metrics.publisher import MetricPublisher
from embedder.inference.local import LocalEncoder

COUNTERS = ("failed", "out_of_memory", "dropped", "busy_s")
"""The fields of `BatcherStats` that begin at 0 with each load of a model."""


class BatchMetrics:
    """Publishes the batches of each model, whose counters go on when it is loaded again."""

    def __init__(self) -> None:
        self._publisher = MetricPublisher(BATCHES)
        self._totals: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._seen: WeakKeyDictionary[LocalEncoder, Counter[str]] = WeakKeyDictionary()

    def publish(self, encoders: Iterable[LocalEncoder]) -> None:
        """Publish the numbers of all loaded encoders."""
        for encoder in encoders:
            batcher, histograms = encoder.batcher, encoder.histograms
            numbers = Counter({name: getattr(batcher.stats, name) for name in COUNTERS})
            totals = self._totals[encoder.model.name]
            totals.update(numbers)
            totals.subtract(self._seen.get(encoder, Counter()))
            self._seen[encoder] = numbers
            self._publisher.publish(
                {
                    **totals,
                    "batch_inputs": histograms.inputs,
                    "batch_tokens": histograms.tokens,
                    "batch_seconds": histograms.seconds,
                    "padding": histograms.padding_tokens,
                    "budget_tokens": batcher.stats.budget_tokens,
                    "waiting": len(batcher),
                    "waiting_tokens": batcher.waiting_tokens,
                    "oldest_s": batcher.oldest_s,
                },
                encoder.model.name,
            )
