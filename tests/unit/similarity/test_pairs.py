"""Every pair that reaches the threshold is found once; too many pairs are refused."""

from __future__ import annotations

import tracemalloc
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedder.core.errors import InvalidInput, InvalidVector, LimitExceeded
from embedder.core.types import SimilarityName, Vectors
from embedder.similarity import metrics
from embedder.similarity.metrics import similarity
from embedder.similarity.pairs import Pairs, pairs_between, pairs_within
from tests.unit.similarity.matrices import EXACT_METRICS, integer_matrices

NAMES: tuple[SimilarityName, ...] = get_args(SimilarityName)


def listed(pairs: Pairs) -> list[tuple[int, int, float]]:
    """Return a list of (row, column, score)."""
    columns = (pairs.rows.tolist(), pairs.columns.tolist(), pairs.scores.tolist())
    return list(zip(*columns, strict=True))


def one_by_one(scores: Vectors, threshold: float, *, within: bool) -> list[Any]:
    """Return the expected pairs, sorted by row and column."""
    return [
        (row, column, score)
        for row, row_scores in enumerate(scores.tolist())
        for column, score in enumerate(row_scores)
        if score >= threshold and (row < column or not within)
    ]


@pytest.mark.parametrize("metric", EXACT_METRICS)
@given(
    integer_matrices(st.integers(0, 9), st.integers(0, 20)),
    st.integers(-12, 9),
    st.sampled_from([1, 3, 7, 1000]),
)
def test_exactly_the_pairs_at_the_threshold_are_found_in_order(
    metric: SimilarityName, pair: tuple[Vectors, Vectors], threshold: int, block_rows: int
) -> None:
    a, b = pair
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(metrics, "BLOCK_ROWS", block_rows)
        between, within = pairs_between(a, b, threshold, metric), pairs_within(b, threshold, metric)

    assert listed(between) == one_by_one(similarity(a, b, metric), threshold, within=False)
    assert listed(within) == one_by_one(similarity(b, b, metric), threshold, within=True)
    assert len(within) == len(within.rows)


@pytest.mark.parametrize("metric", NAMES)
@pytest.mark.parametrize("block_rows", [16, 1024])
def test_pairs_of_realistic_widths_equal_those_of_the_matrix(
    metric: SimilarityName, block_rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics, "BLOCK_ROWS", block_rows)
    rows = np.random.default_rng(5).standard_normal((90, 48)).astype(np.float32)
    measured = similarity(rows, rows, metric)
    ordered = np.sort(measured[np.triu_indices(90, 1)])
    threshold = float((ordered[-50] + ordered[-51]) / 2)

    found = pairs_within(rows, threshold, metric)

    expected = one_by_one(measured, threshold, within=True)
    assert [pair[:2] for pair in listed(found)] == [pair[:2] for pair in expected]
    np.testing.assert_allclose(found.scores, [pair[2] for pair in expected], rtol=1e-4)
    assert (found.rows.dtype, found.columns.dtype) == (np.dtype(np.int64), np.dtype(np.int64))
    assert found.scores.dtype == np.float32


def test_a_pair_exactly_at_the_threshold_is_found() -> None:
    rows = np.array([[0.9], [1]], np.float32)

    assert listed(pairs_within(rows, 0.9, "dot"))[0][:2] == (0, 1)
    assert len(pairs_within(rows, 0.9001, "dot")) == 0


@pytest.mark.parametrize(("threshold", "count"), [(-np.inf, 3), (np.inf, 0), (1e39, 0), (-1e39, 3)])
def test_a_threshold_beyond_float32_takes_all_pairs_or_none(threshold: float, count: int) -> None:
    assert len(pairs_within(np.eye(3, dtype=np.float32), threshold)) == count


@pytest.mark.parametrize("counts", [(0, 0), (0, 3), (3, 0)])
def test_empty_matrices_have_no_pairs(counts: tuple[int, int]) -> None:
    a, b = (np.ones((count, 2), np.float32) for count in counts)

    assert listed(pairs_between(a, b, -2)) == []
    assert listed(pairs_within(np.ones((1, 2), np.float32), -2)) == []


def test_more_pairs_than_allowed_are_refused_before_they_fill_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(metrics, "BLOCK_ROWS", 64)
    rows = np.ones((3000, 2), np.float32)
    tracemalloc.start()
    with pytest.raises(LimitExceeded) as caught:
        pairs_within(rows, 0.5, max_pairs=10_000)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert (caught.value.field, caught.value.limit) == ("threshold", 10_000)
    assert "or more pairs at or above it; the limit is 10000" in str(caught.value)
    assert 10_000 < caught.value.size <= 10_000 + 64 * 64
    assert peak < 2**20


@pytest.mark.parametrize("most", [3, 4])
def test_as_many_pairs_as_allowed_are_found(most: int) -> None:
    rows = np.ones((3, 2), np.float32)

    assert len(pairs_within(rows, 0.5, max_pairs=most)) == 3
    assert len(pairs_between(rows, rows[:1], 0.5, max_pairs=most)) == 3
    with pytest.raises(LimitExceeded, match="'threshold' has 3 or more pairs"):
        pairs_within(rows, 0.5, max_pairs=2)


def test_invalid_arguments_are_refused_by_name() -> None:
    rows, broken = np.ones((3, 2), np.float32), np.ones((3, 2), np.float32)
    broken[1, 0] = np.inf

    with pytest.raises(InvalidVector, match=r"'inputs\[1\]' has a component that is not finite"):
        pairs_within(broken, 0.5)
    with pytest.raises(InvalidVector, match=r"'b\[1\]' has a component that is not finite"):
        pairs_between(rows, broken, 0.5)
    with pytest.raises(InvalidVector, match="'b' has 2 components; a has 1"):
        pairs_between(rows[:, :1], rows, 0.5)
    with pytest.raises(InvalidInput, match="'threshold' is not a number"):
        pairs_within(rows, float("nan"))
    with pytest.raises(InvalidInput, match="'max_pairs' is -1"):
        pairs_between(rows, rows, 0.5, max_pairs=-1)
    with pytest.raises(InvalidInput, match="'metric' is 'l2'"):
        pairs_within(rows, 0.5, "l2")  # type: ignore[arg-type]
