"""The points that the contenders store, the queries that they answer, and what is right."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embedder.core.types import Vectors
from embedder.index.contract.points import Metric
from embedder.index.segments.scoring import approximate_scores, normalize

METRIC = Metric.COSINE
TOP = 10
BATCH = 100
"""Points of an upsert."""


@dataclass(frozen=True, slots=True)
class Points:
    """Some points: their numbers, vectors float32[n, d], and the field that the filter compares.

    ``values`` are a permutation of the numbers of all points, so a filter keeps some by chance.
    """

    numbers: NDArray[np.int64]
    vectors: Vectors
    values: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.numbers)

    @classmethod
    def of(cls, vectors: Vectors) -> Points:
        """Return points of the vectors."""
        values = np.random.default_rng(3).permutation(len(vectors))
        return cls(np.arange(len(vectors)), vectors, values)

    def part(self, start: int, end: int) -> Points:
        """Return some of the points."""
        rows = slice(start, end)
        return Points(self.numbers[rows], self.vectors[rows], self.values[rows])

    def batches(self) -> Iterator[Points]:
        """Yield the points in the batches that are upserted."""
        for start in range(0, len(self), BATCH):
            yield self.part(start, start + BATCH)

    def nearest(self, queries: Vectors, below: int | None) -> list[set[int]]:
        """Return the numbers of the points that brute force finds for each query.

        ``below`` is the filter: only points with a smaller value count. None stands for all.
        """
        kept = self.numbers if below is None else self.numbers[self.values < below]
        queries, rows = normalize(METRIC, queries), normalize(METRIC, self.vectors[kept])
        order = np.argsort(-approximate_scores(METRIC, queries, rows), axis=1, kind="stable")
        return [set(kept[row[:TOP]].tolist()) for row in order]
