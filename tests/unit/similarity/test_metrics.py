"""The measures agree with those of the libraries that everybody uses, and refuse what has none."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from embedder.core.errors import InvalidInput, InvalidVector
from embedder.core.types import SimilarityName, Vectors
from embedder.similarity.metrics import (
    METRICS,
    pair_similarity,
    similarities_to,
    similarity,
    similarity_blocks,
)

distance = pytest.importorskip("scipy.spatial.distance")
pairwise = pytest.importorskip("sklearn.metrics.pairwise")

NAMES: tuple[SimilarityName, ...] = get_args(SimilarityName)
SCIPY: dict[SimilarityName, str] = {
    "euclidean": "euclidean",
    "squared_euclidean": "sqeuclidean",
    "manhattan": "cityblock",
}
SKLEARN: dict[SimilarityName, Callable[[Any, Any], Any]] = {
    "cosine": pairwise.cosine_similarity,
    "dot": pairwise.linear_kernel,
    "euclidean": lambda a, b: -pairwise.euclidean_distances(a, b),
    "squared_euclidean": lambda a, b: -pairwise.euclidean_distances(a, b, squared=True),
    "manhattan": lambda a, b: -pairwise.manhattan_distances(a, b),
}
COMPONENTS = st.floats(-100, 100, width=32)


@st.composite
def pairs(draw: st.DrawFn) -> tuple[Vectors, Vectors]:
    """Draw two matrices of one width, with rows that are alike, zero, tiny or far apart."""
    width = draw(st.integers(1, 9))
    counts = draw(st.integers(0, 5)), draw(st.integers(0, 5))
    a, b = (draw(arrays(np.float32, (count, width), elements=COMPONENTS)) for count in counts)
    if len(a) and len(b) and draw(st.booleans()):
        b[0] = a[0]
    return a, b


def exact(a: Vectors, b: Vectors, metric: SimilarityName) -> Any:
    """Return the measures as scipy has them, in double precision."""
    x, y = a.astype(np.float64), b.astype(np.float64)
    if metric in SCIPY:
        return -distance.cdist(x, y, SCIPY[metric])
    if metric == "dot":
        return x @ y.T
    # Of zeros scipy has no cosine, and lengths below 1e-15 are zeros to scikit-learn.
    with np.errstate(invalid="ignore"):
        return np.nan_to_num(1 - distance.cdist(x, y, "cosine"), nan=0.0)


def sized(a: Vectors, b: Vectors, metric: SimilarityName) -> float:
    """Return how large the numbers are that a measure adds up, and thus how far it may be off."""
    lengths = [np.abs(matrix).sum(1).max(initial=1.0) for matrix in (a, b)]
    sizes = {"cosine": 1.0, "dot": lengths[0] * lengths[1], "squared_euclidean": sum(lengths) ** 2}
    return float(sizes.get(metric, sum(lengths)))


@pytest.mark.parametrize("metric", NAMES)
@given(pairs())
def test_every_pair_has_the_measure_of_scipy(
    metric: SimilarityName, pair: tuple[Vectors, Vectors]
) -> None:
    found = similarity(*pair, metric)

    assert found.dtype == np.float32
    assert found.shape == (len(pair[0]), len(pair[1]))
    tolerance = 1e-6 * sized(*pair, metric)
    np.testing.assert_allclose(found, exact(*pair, metric), rtol=1e-5, atol=tolerance)


@pytest.mark.parametrize("metric", NAMES)
@pytest.mark.parametrize("width", [1, 3, 384, 1024])
def test_the_measures_are_those_of_scikit_learn(metric: SimilarityName, width: int) -> None:
    random = np.random.default_rng(7)
    a, b = (random.normal(size=(count, width)).astype(np.float32) for count in (40, 30))
    a[3], b[5] = 0, a[7]
    expected = SKLEARN[metric](a.astype(np.float64), b.astype(np.float64))

    np.testing.assert_allclose(similarity(a, b, metric), expected, rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize("metric", SCIPY)
def test_distances_are_those_of_scipy_but_negative(metric: SimilarityName) -> None:
    random = np.random.default_rng(8)
    a, b = (random.normal(size=(count, 64)).astype(np.float32) for count in (20, 30))
    expected = -distance.cdist(a.astype(np.float64), b.astype(np.float64), SCIPY[metric])

    np.testing.assert_allclose(similarity(a, b, metric), expected, rtol=1e-5, atol=1e-5)


def test_cosines_are_those_of_scipy() -> None:
    random = np.random.default_rng(9)
    a, b = (random.normal(size=(count, 64)).astype(np.float32) for count in (20, 30))
    expected = 1 - distance.cdist(a.astype(np.float64), b.astype(np.float64), "cosine")

    np.testing.assert_allclose(similarity(a, b), expected, atol=1e-5)


def test_signs_and_values_are_those_of_sentence_transformers() -> None:
    util = pytest.importorskip("sentence_transformers.util")
    theirs: dict[SimilarityName, Any] = {
        "cosine": util.cos_sim,
        "dot": util.dot_score,
        "euclidean": util.euclidean_sim,
        "manhattan": util.manhattan_sim,
    }
    random = np.random.default_rng(10)
    a, b = (random.normal(size=(count, 384)).astype(np.float32) for count in (9, 8))
    a[2] = b[2]

    assert set(METRICS) == {*theirs, "squared_euclidean"} == set(NAMES)
    for metric, function in theirs.items():
        expected = function(a, b).numpy()
        np.testing.assert_allclose(similarity(a, b, metric), expected, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("metric", NAMES)
def test_the_nearest_has_the_largest_number(metric: SimilarityName) -> None:
    question = np.array([[1, 0, 0]], np.float32)
    answers = np.array([[0, 1, 0], [1, 0, 0], [-1, 0, 0]], np.float32)

    assert similarity(question, answers, metric)[0].argmax() == 1


def test_near_rows_keep_their_digits() -> None:
    """In single precision, squares of about 1,000 leave nothing of a distance of 0.001."""
    a = np.full((1, 100), 3.0, np.float32)
    b = a.copy()
    b[0, 0] += 0.001

    assert similarity(a, b, "euclidean")[0, 0] == pytest.approx(-0.001, rel=1e-3)
    assert similarity(a, b, "squared_euclidean")[0, 0] == pytest.approx(-1e-6, rel=1e-3)


def test_a_row_is_at_no_distance_from_itself() -> None:
    """Rounding may leave a square below zero, which has no root."""
    random = np.random.default_rng(11)
    for width in range(1, 65):
        rows = random.normal(size=(40, width)).astype(np.float32)

        np.testing.assert_allclose(np.diag(similarity(rows, rows, "euclidean")), 0, atol=1e-5)
        assert np.diag(similarity(rows, rows, "manhattan")).tolist() == [0] * 40


def test_what_has_no_direction_is_near_to_nothing() -> None:
    zero, some = np.zeros((1, 3), np.float32), np.ones((2, 3), np.float32)

    assert similarity(zero, some).tolist() == [[0, 0]]
    assert similarity(zero, zero).tolist() == [[0]]


def test_very_small_and_very_large_rows_have_a_direction() -> None:
    tiny, huge = np.full((1, 4), 1e-30, np.float32), np.full((1, 4), 1e30, np.float32)

    np.testing.assert_allclose(similarity(tiny, huge), [[1]], rtol=1e-6)


@pytest.mark.parametrize("metric", NAMES)
@pytest.mark.parametrize("counts", [(0, 0), (0, 3), (3, 0), (1, 1)])
def test_sets_may_be_empty_or_of_one(metric: SimilarityName, counts: tuple[int, int]) -> None:
    a, b = (np.ones((count, 5), np.float32) for count in counts)

    assert similarity(a, b, metric).shape == counts


@pytest.mark.parametrize("metric", NAMES)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_refused_by_its_row(metric: SimilarityName, bad: float) -> None:
    a, b = np.ones((3, 4), np.float32), np.ones((3, 4), np.float32)
    b[2, 1] = bad

    with pytest.raises(InvalidVector, match=r"'b\[2\]' has a component that is not finite"):
        similarity(a, b, metric)
    with pytest.raises(InvalidVector, match=r"'a\[2\]'"):
        similarity(b, a, metric)


def test_matrices_that_do_not_fit_together_are_refused() -> None:
    with pytest.raises(InvalidVector, match="'b' has 3 components; a has 2"):
        similarity(np.ones((1, 2), np.float32), np.ones((1, 3), np.float32))
    with pytest.raises(InvalidVector, match="'a' has 1 dimensions; it must have 2"):
        similarity(np.ones(2, np.float32), np.ones((1, 2), np.float32))
    with pytest.raises(InvalidVector, match="'b' has 3 dimensions; it must have 2"):
        similarity(np.ones((1, 2), np.float32), np.ones((1, 2, 1), np.float32))


def test_a_measure_that_does_not_exist_is_refused_with_those_that_do() -> None:
    one = np.ones((1, 2), np.float32)
    with pytest.raises(InvalidInput, match="'metric' is 'jaccard'; there are: cosine, dot"):
        similarity(one, one, "jaccard")  # type: ignore[arg-type]


def test_other_number_formats_are_taken_and_nothing_that_is_given_changes() -> None:
    a, b = np.array([[1, 2], [3, 4]]), np.array([[0.5, 0.25]], np.float64)
    kept = a.copy(), b.copy()
    for metric in NAMES:
        found = similarity(a, b, metric)  # type: ignore[arg-type]
        np.testing.assert_allclose(found, exact(a, b, metric), rtol=1e-6)  # type: ignore[arg-type]

    assert np.array_equal(a, kept[0])
    assert np.array_equal(b, kept[1])


@pytest.mark.parametrize("metric", NAMES)
@given(pairs(), st.integers(1, 100))
def test_blocks_of_any_size_make_up_the_matrix(
    metric: SimilarityName, pair: tuple[Vectors, Vectors], max_bytes: int
) -> None:
    whole = similarity(*pair, metric)

    blocks = list(similarity_blocks(*pair, metric, max_bytes=max_bytes))

    assert [start for start, _ in blocks] == list(
        np.cumsum([0, *(len(block) for _, block in blocks)])[: len(blocks)]
    )
    assert all(block.nbytes <= max_bytes or len(block) == 1 for _, block in blocks)
    found = np.concatenate([np.empty((0, len(pair[1])), np.float32), *(one for _, one in blocks)])
    np.testing.assert_allclose(found, whole, rtol=1e-5, atol=1e-6 * sized(*pair, metric))


@pytest.mark.parametrize("metric", NAMES)
def test_a_matrix_larger_than_memory_goes_block_by_block(metric: SimilarityName) -> None:
    rows = np.random.default_rng(1).standard_normal((3000, 4)).astype(np.float32)
    whole_bytes = 4 * len(rows) ** 2
    similarity(rows[:1], rows[:1], metric)  # what is imported first is no part of it
    tracemalloc.start()
    count = sum(len(block) for _, block in similarity_blocks(rows, rows, metric, max_bytes=2**18))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert count == len(rows)
    assert peak < whole_bytes / 16


@pytest.mark.parametrize("metric", NAMES)
@given(pairs())
def test_one_pair_and_one_against_many_are_parts_of_the_matrix(
    metric: SimilarityName, pair: tuple[Vectors, Vectors]
) -> None:
    a, b = (np.concatenate([np.ones((1, matrix.shape[1]), np.float32), matrix]) for matrix in pair)
    whole, tolerance = similarity(a, b, metric), 1e-6 * sized(a, b, metric)

    many = similarities_to(a[-1], b, metric)
    one = pair_similarity(a[-1], b[-1], metric)

    assert many.dtype == np.float32
    np.testing.assert_allclose(many, whole[-1], rtol=1e-5, atol=tolerance)
    assert one == pytest.approx(whole[-1, -1], rel=1e-5, abs=tolerance)


def test_what_is_no_vector_is_refused_by_its_name() -> None:
    rows, broken = np.ones((2, 3), np.float32), np.full(3, np.nan, np.float32)

    with pytest.raises(InvalidVector, match="'a' has 2 dimensions; it must have 1"):
        similarities_to(rows, rows)
    with pytest.raises(InvalidVector, match="'b' has 2 dimensions; it must have 1"):
        pair_similarity(rows[0], rows)
    with pytest.raises(InvalidVector, match="'b' has a component that is not finite"):
        pair_similarity(rows[0], broken)
    with pytest.raises(InvalidVector, match="'b' has 3 components; a has 2"):
        similarities_to(rows[0, :2], rows)
    with pytest.raises(InvalidVector, match=r"'b\[0\]'"):
        similarity_blocks(rows, broken[None, :])
    with pytest.raises(InvalidInput, match="'metric' is 'l2'"):
        similarity_blocks(rows, rows, "l2")  # type: ignore[arg-type]


def test_squares_beyond_single_precision_are_infinite_and_roots_are_not() -> None:
    a, b = np.full((1, 4), 1e30, np.float32), np.zeros((1, 4), np.float32)

    assert similarity(a, b, "euclidean")[0, 0] == pytest.approx(-2e30)
    with pytest.warns(RuntimeWarning, match="overflow"):
        assert similarity(a, b, "squared_euclidean")[0, 0] == -np.inf
