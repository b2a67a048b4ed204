"""Cancelled work stops before its next step: a tile, a draw, a training or a block of rows."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import copy_context
from functools import partial
from typing import Any

import faiss
import numpy as np
import pytest

from embedder.core.cancellation import Cancellation, Cancelled
from embedder.core.types import SimilarityName, Vectors
from embedder.similarity import assignment, metrics
from embedder.similarity.clustering import cluster
from embedder.similarity.metrics import METRICS, similarity
from embedder.similarity.minibatch import cluster_in_batches
from embedder.similarity.pairs import near_duplicates, pairs_between, pairs_within
from embedder.similarity.topk import top_k

K = 6
A, B = (
    np.random.default_rng(seed).standard_normal((rows, 4)).astype(np.float32)
    for seed, rows in ((1, 10), (2, 13))
)
POINTS = np.random.default_rng(3).standard_normal((60, 4)).astype(np.float32)

Work = Callable[[], object]
both_ways = pytest.mark.parametrize("spherical", [True, False])


class Steps:
    """Counts the steps of work that runs with a flag of its own."""

    def __init__(self) -> None:
        self.begun = 0
        self._last = 0
        self._cancellation = Cancellation()

    def counted(self, step: Callable[..., Any]) -> Callable[..., Any]:
        """Return the step; at the end of the chosen one it requests cancellation."""

        def run(*args: Any, **kwargs: Any) -> Any:
            self.begun += 1
            number = self.begun
            result = step(*args, **kwargs)
            if number == self._last:
                self._cancellation.request()
            return result

        return run

    def run(self, work: Work, *, last: int = 0) -> None:
        """Run the work, and request cancellation at the end of step ``last``; 0: never."""
        self.begun, self._last, self._cancellation = 0, last, Cancellation()
        context = copy_context()
        context.run(self._cancellation.enter)
        context.run(work)

    def check(self, work: Work, total: int) -> None:
        """Require that the work has ``total`` steps, and stops after each but the last one."""
        self.run(work)
        assert self.begun == total
        for last in range(1, total):
            with pytest.raises(Cancelled):
                self.run(work, last=last)
            assert self.begun == last


@pytest.fixture
def steps() -> Steps:
    """Return a counter of steps."""
    return Steps()


def _count_metric(steps: Steps, monkeypatch: pytest.MonkeyPatch, metric: SimilarityName) -> None:
    monkeypatch.setitem(METRICS, metric, steps.counted(METRICS[metric]))


@pytest.mark.parametrize(
    ("work", "tiles"),
    [
        (partial(top_k, A, B, "dot", 3), 12),
        (partial(pairs_between, A, B, 0.5, "dot"), 12),
        (partial(pairs_within, A, 0.5, "dot"), 6),
        (partial(near_duplicates, A, 0.5, "dot"), 6),
    ],
    ids=["top_k", "pairs_between", "pairs_within", "near_duplicates"],
)
def test_comparisons_stop_before_the_next_tile(
    steps: Steps, monkeypatch: pytest.MonkeyPatch, work: Work, tiles: int
) -> None:
    monkeypatch.setattr(metrics, "BLOCK_ROWS", 4)
    _count_metric(steps, monkeypatch, "dot")

    steps.check(work, tiles)


def test_distances_stop_before_the_next_rows(steps: Steps, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "TILE_ROWS", 4)
    distances: Callable[..., Vectors] = METRICS["squared_euclidean"]
    counted = partial(distances, function=steps.counted(np.sqrt))
    monkeypatch.setitem(METRICS, "euclidean", counted)

    steps.check(partial(similarity, A, B, "euclidean"), 4)


@both_ways
@pytest.mark.parametrize("algorithm", [cluster, cluster_in_batches])
def test_clustering_stops_before_it_draws_the_next_centroid(
    steps: Steps, monkeypatch: pytest.MonkeyPatch, algorithm: Callable[..., object], spherical: bool
) -> None:
    monkeypatch.setattr(np, "searchsorted", steps.counted(np.searchsorted))

    steps.check(partial(algorithm, POINTS, K, spherical=spherical), K - 1)


@both_ways
def test_k_means_stops_before_the_next_iterations(
    steps: Steps, monkeypatch: pytest.MonkeyPatch, spherical: bool
) -> None:
    monkeypatch.setattr(faiss.Kmeans, "train", steps.counted(faiss.Kmeans.train))

    # 25 iterations, 5 a step.
    steps.check(partial(cluster, POINTS, K, spherical=spherical), 5)


@both_ways
def test_k_means_stops_before_it_assigns_the_next_rows(
    steps: Steps, monkeypatch: pytest.MonkeyPatch, spherical: bool
) -> None:
    monkeypatch.setattr(assignment, "BLOCK_BYTES", 12 * (K + 4) * 10)
    _count_metric(steps, monkeypatch, "euclidean")

    # 60 rows, 10 a step.
    steps.check(partial(cluster, POINTS, K, spherical=spherical), 6)


@both_ways
def test_mini_batch_k_means_stops_before_the_next_batch(
    steps: Steps, monkeypatch: pytest.MonkeyPatch, spherical: bool
) -> None:
    _count_metric(steps, monkeypatch, "euclidean")
    work = partial(cluster_in_batches, POINTS, K, spherical=spherical, batch_rows=20, passes=2)

    # Three batches a pass, and the assignment of all rows at the end.
    steps.check(work, 2 * 3 + 1)
