"""Stored vectors are read until the error of the codes cannot change the nearest rows."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from embedder.core.types import Vectors
from embedder.index.contract.kinds import IndexKind
from embedder.index.contract.points import Metric
from embedder.index.segments import code_search
from embedder.index.segments.code_search import nearest_by_codes
from embedder.index.segments.segment import PackedIds, Segment
from tests.unit.index.brute_force import scores

COUNT, WIDTH, K, WANTED = 3000, 8, 10, 20
ROWS = np.random.default_rng(1).normal(0, 1, (COUNT, WIDTH)).astype(np.float32)
QUERIES = np.random.default_rng(2).normal(0, 1, (3, WIDTH)).astype(np.float32)
PKS = 5 * np.arange(COUNT)


class Codes:
    """Codes whose scores differ by up to ``error`` from those of the rows; it counts reads."""

    def __init__(self, metric: Metric, error: float) -> None:
        self.segment = Segment(None, IndexKind.IVF_PQ, metric, PKS, PKS, PackedIds(b"", PKS), None)
        exact = np.stack([scores(metric, query, ROWS) for query in QUERIES])
        exact = -(exact**2) if metric is Metric.L2 else exact
        noise = np.random.default_rng(3).uniform(-error, error, exact.shape)
        self.scores = (exact + noise).astype(np.float32)
        self.nearest = np.argsort(-exact, axis=1)[:, :K]
        self.read: set[int] = set()

    def search(self) -> set[int]:
        """Return the differences between the nearest rows and those that are found."""
        _, at = nearest_by_codes(self.segment, QUERIES, K, WANTED, self._best, self._fetch)
        assert at.shape == (len(QUERIES), WANTED)
        return {
            row
            for found, nearest in zip(at[:, :K].tolist(), self.nearest.tolist(), strict=True)
            for row in {*found} ^ {*nearest}
        }

    def _best(self, queries: Vectors, size: int) -> tuple[Vectors, NDArray[np.int64]]:
        at = np.argsort(-self.scores, axis=1)[:, :size]
        return np.take_along_axis(self.scores, at, 1), at

    def _fetch(self, pks: NDArray[np.int64]) -> Vectors:
        assert (np.diff(pks) > 0).all()
        self.read |= {*(pks // 5).tolist()}
        return ROWS[pks // 5]


@pytest.mark.parametrize("metric", [Metric.DOT, Metric.L2])
@pytest.mark.parametrize("error", [0.0, 0.1, 1.0, 30.0])
def test_the_nearest_rows_are_found_whatever_the_error(metric: Metric, error: float) -> None:
    codes = Codes(metric, error)

    assert codes.search() == set()


def test_no_more_rows_are_read_than_the_error_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    read = []
    for error in (0.0, 1.0, 30.0):
        codes = Codes(Metric.L2, error)
        codes.search()
        read.append(len(codes.read))

    assert len(QUERIES) * WANTED / 2 <= read[0] <= len(QUERIES) * WANTED
    assert read[0] < read[1] < read[2] == COUNT
    monkeypatch.setattr(code_search, "MAX_READ", 100)
    codes = Codes(Metric.L2, 30.0)
    codes.search()
    assert len(codes.read) <= 100 * len(QUERIES)
