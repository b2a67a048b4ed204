"""The most similar rows equal those of a full sort, for every size of blocks."""

from __future__ import annotations

import tracemalloc
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from embedder.core.errors import InvalidInput, InvalidVector
from embedder.core.types import SimilarityName, Vectors
from embedder.similarity import metrics
from embedder.similarity.metrics import similarity
from embedder.similarity.topk import top_k
from tests.unit.examples import TIMES
from tests.unit.similarity.matrices import EXACT_METRICS, integer_matrices

NAMES: tuple[SimilarityName, ...] = get_args(SimilarityName)


def sort_all(all_scores: NDArray[Any], k: int) -> NDArray[np.intp]:
    """Return the columns of the k largest scores of every row; of equal scores, the first."""
    return np.argsort(-all_scores, axis=1, kind="stable")[:, :k]


@pytest.fixture(params=[1, 4, 7, 1000])
def block_rows(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Set the rows per block."""
    monkeypatch.setattr(metrics, "BLOCK_ROWS", request.param)
    return int(request.param)


@pytest.mark.parametrize("metric", EXACT_METRICS)
@settings(max_examples=100 * TIMES)
@given(
    st.sampled_from([1, 3, 7, 1000]),
    integer_matrices(st.integers(0, 9), st.integers(0, 30)),
    st.integers(1, 40),
)
def test_the_result_equals_a_full_sort_with_ties_in_row_order(
    metric: SimilarityName, rows: int, pair: tuple[Vectors, Vectors], k: int
) -> None:
    all_scores = similarity(*pair, metric)
    expected = sort_all(all_scores, k)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(metrics, "BLOCK_ROWS", rows)
        indices, scores = top_k(*pair, metric, k)

    assert indices.dtype == np.int64
    assert scores.dtype == np.float32
    assert indices.tolist() == expected.tolist()
    assert scores.tolist() == np.take_along_axis(all_scores, expected, axis=1).tolist()


@pytest.mark.parametrize("metric", NAMES)
@pytest.mark.parametrize("k", [1, 10, 100, 300])
def test_the_result_for_realistic_widths_equals_a_full_sort(
    metric: SimilarityName, k: int, block_rows: int
) -> None:
    random = np.random.default_rng(7)
    a, b = (random.standard_normal((count, 32)).astype(np.float32) for count in (20, 200))
    exact = similarity(a, b, metric)

    indices, scores = top_k(a, b, metric, k)

    assert indices.shape == scores.shape == (20, min(k, 200))
    np.testing.assert_allclose(
        scores, np.take_along_axis(exact, sort_all(exact, k), axis=1), rtol=1e-5, atol=1e-5
    )
    np.testing.assert_allclose(
        scores, np.take_along_axis(exact, indices, axis=1), rtol=1e-5, atol=1e-5
    )
    assert all(len(set(row)) == len(row) for row in indices.tolist())


def test_infinite_scores_and_both_zeros_are_ordered(block_rows: int) -> None:
    with np.errstate(over="ignore"):
        indices, scores = top_k(
            np.array([[3e38]], np.float32),
            np.array([[-3e38], [-0.0], [1e-45], [0], [3e38], [-1e-45], [3e38]], np.float32),
            "dot",
            9,
        )

    assert indices.tolist() == [[4, 6, 2, 1, 3, 5, 0]]
    assert scores[0, [0, 1, 6]].tolist() == [np.inf, np.inf, -np.inf]


def test_the_scores_of_all_pairs_are_never_in_memory_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(metrics, "BLOCK_ROWS", 64)
    rows = np.random.default_rng(1).standard_normal((2000, 4)).astype(np.float32)
    tracemalloc.start()
    top_k(rows, rows, "cosine", 5)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak < rows.shape[0] ** 2 * 4 / 8


@pytest.mark.parametrize(("n", "m", "shape"), [(0, 3, (0, 2)), (3, 0, (3, 0)), (0, 0, (0, 0))])
def test_empty_matrices_have_an_empty_result(n: int, m: int, shape: tuple[int, int]) -> None:
    indices, scores = top_k(np.ones((n, 2), np.float32), np.ones((m, 2), np.float32), "cosine", 2)

    assert indices.shape == scores.shape == shape


@pytest.mark.parametrize("k", [0, -1])
def test_a_k_below_one_is_refused(k: int) -> None:
    rows = np.ones((2, 2), np.float32)

    with pytest.raises(InvalidInput, match=f"'k' is {k}"):
        top_k(rows, rows, "cosine", k)


def test_a_row_that_is_not_finite_is_named_by_its_number_in_the_matrix(block_rows: int) -> None:
    rows = np.ones((50, 2), np.float32)
    broken = rows.copy()
    broken[33, 1] = np.nan

    with pytest.raises(InvalidVector, match=r"'b\[33\]'"):
        top_k(rows, broken, "dot", 1)
    with pytest.raises(InvalidVector, match=r"'a\[33\]'"):
        top_k(broken, rows, "dot", 1)
    with pytest.raises(InvalidVector, match="3 components; a has 2"):
        top_k(rows, np.ones((2, 3), np.float32), "dot", 1)
