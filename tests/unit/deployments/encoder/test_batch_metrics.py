"""The counters of a model's batches go on when it is loaded again."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import cast

import pytest

from deployments.encoder.batch_metrics import BatchMetrics
from deployments.metrics.publisher import MetricPublisher
from embedder.batching.batcher import BatcherStats
from embedder.inference.local import LocalEncoder
from embedder.measurements.batches import BatchHistograms


class _Batcher:
    oldest_s = 0.5
    waiting_tokens = 7

    def __init__(self, **counters: float) -> None:
        self.stats = BatcherStats(100)
        for name, value in counters.items():
            setattr(self.stats, name, value)

    def __len__(self) -> int:
        return 3


class _Encoder:
    def __init__(self, histograms: BatchHistograms, **counters: float) -> None:
        self.model = SimpleNamespace(name="letters")
        self.histograms = histograms
        self.batcher = _Batcher(**counters)


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """Return the numbers of the last publication."""
    numbers: dict[str, object] = {}

    def publish(_: MetricPublisher, given: Mapping[str, object], *labels: str) -> None:
        assert labels == ("letters",)
        numbers.update(given)

    monkeypatch.setattr(MetricPublisher, "publish", publish)
    return numbers


def test_counters_of_a_model_go_on_after_a_second_load(published: dict[str, object]) -> None:
    metrics, histograms = BatchMetrics(), BatchHistograms()
    first = _Encoder(histograms, failed=2, busy_s=1.5)
    metrics.publish([cast("LocalEncoder", first)])
    first.batcher.stats.failed = 3
    metrics.publish([cast("LocalEncoder", first)])
    second = _Encoder(histograms, failed=1, busy_s=0.25)
    metrics.publish([cast("LocalEncoder", second)])

    assert (published["failed"], published["busy_s"]) == (4, 1.75)
    assert (published["waiting"], published["waiting_tokens"], published["oldest_s"]) == (3, 7, 0.5)


def test_padding_counts_only_where_a_backend_pads() -> None:
    padded, packed = BatchHistograms(), BatchHistograms()
    padded.record([3, 5, 5], 0.1, padded=True)
    packed.record([3, 5, 5], 0.1, padded=False)

    assert (padded.padding_tokens, packed.padding_tokens) == (2, 0)
    assert padded.tokens.sum == packed.tokens.sum == 13
    assert padded.inputs.sum == 3
