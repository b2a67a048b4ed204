"""Similarities agree with scipy, scikit-learn and sentence-transformers; bad input is refused."""

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
from embedder.similarity.metrics import METRICS, similarity, similarity_blocks

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
    """Draw two matrices of equal width, sometimes with a row in common."""
    width = draw(st.integers(1, 9))
    counts = draw(st.integers(0, 5)), draw(st.integers(0, 5))
    a, b = (draw(arrays(np.float32, (count, width), elements=COMPONENTS)) for count in counts)
    if len(a) and len(b) and draw(st.booleans()):
        b[0] = a[0]
    return a, b


def exact(a: Vectors, b: Vectors, metric: SimilarityName) -> Any:
    """Return the similarities that scipy computes in double precision."""
    x, y = a.astype(np.float64), b.astype(np.float64)
    if metric in SCIPY:
        return -distance.cdist(x, y, SCIPY[metric])
    if metric == "dot":
        return x @ y.T
    # The cosine of zeros is NaN in scipy; scikit-learn takes lengths below 1e-15 for zeros.
    with np.errstate(invalid="ignore"):
        return np.nan_to_num(1 - distance.cdist(x, y, "cosine"), nan=0.0)


def magnitude(a: Vectors, b: Vectors, metric: SimilarityName) -> float:
    """Return the magnitude of the sums in a metric, to which its error is proportional."""
    lengths = [np.abs(matrix).sum(1).max(initial=1.0) for matrix in (a, b)]
    sizes = {"cosine": 1.0, "dot": lengths[0] * lengths[1], "squared_euclidean": sum(lengths) ** 2}
    return float(sizes.get(metric, sum(lengths)))


@pytest.mark.parametrize("metric", NAMES)
@given(pairs())
def test_every_pair_has_the_similarity_of_scipy(
    metric: SimilarityName, pair: tuple[Vectors, Vectors]
) -> None:
    found = similarity(*pair, metric)

    assert found.dtype == np.float32
    assert found.shape == (len(pair[0]), len(pair[1]))
    tolerance = 1e-6 * magnitude(*pair, metric)
    np.testing.assert_allclose(found, exact(*pair, metric), rtol=1e-5, atol=tolerance)


@pytest.mark.parametrize("metric", NAMES)
@pytest.mark.parametrize("width", [1, 3, 384, 1024])
def test_similarities_equal_those_of_scikit_learn(metric: SimilarityName, width: int) -> None:
    random = np.random.default_rng(7)
    a, b = (random.normal(size=(count, width)).astype(np.float32) for count in (40, 30))
    a[3], b[5] = 0, a[7]
    expected = SKLEARN[metric](a.astype(np.float64), b.astype(np.float64))

    np.testing.assert_allclose(similarity(a, b, metric), expected, rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize("metric", NAMES)
def test_similarities_of_realistic_widths_equal_those_of_scipy(metric: SimilarityName) -> None:
    random = np.random.default_rng(8)
    a, b = (random.normal(size=(count, 64)).astype(np.float32) for count in (20, 30))

    np.testing.assert_allclose(similarity(a, b, metric), exact(a, b, metric), rtol=1e-5, atol=1e-5)


def test_signs_and_values_equal_those_of_sentence_transformers() -> None:
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
def test_the_most_similar_row_has_the_largest_score(metric: SimilarityName) -> None:
    question = np.array([[1, 0, 0]], np.float32)
    answers = np.array([[0, 1, 0], [1, 0, 0], [-1, 0, 0]], np.float32)

    assert similarity(question, answers, metric)[0].argmax() == 1


def test_distances_of_close_rows_keep_their_digits() -> None:
    """In single precision, subtracting squares of about 1,000 would lose a distance of 0.001."""
    a = np.full((1, 100), 3.0, np.float32)
    b = a.copy()
    b[0, 0] += 0.001

    assert similarity(a, b, "euclidean")[0, 0] == pytest.approx(-0.001, rel=1e-3)
    assert similarity(a, b, "squared_euclidean")[0, 0] == pytest.approx(-1e-6, rel=1e-3)


def test_the_distance_of_a_row_to_itself_is_zero() -> None:
    """Rounding may make a squared distance negative, whose root would be NaN."""
    random = np.random.default_rng(11)
    for width in range(1, 65):
        rows = random.normal(size=(40, width)).astype(np.float32)

        np.testing.assert_allclose(np.diag(similarity(rows, rows, "euclidean")), 0, atol=1e-5)
        assert np.diag(similarity(rows, rows, "manhattan")).tolist() == [0] * 40


def test_the_cosine_of_a_row_of_zeros_is_zero() -> None:
    zero, some = np.zeros((1, 3), np.float32), np.ones((2, 3), np.float32)

    assert similarity(zero, some).tolist() == [[0, 0]]
    assert similarity(zero, zero).tolist() == [[0]]


def test_very_small_and_very_large_rows_have_a_direction() -> None:
    tiny, huge = np.full((1, 4), 1e-30, np.float32), np.full((1, 4), 1e30, np.float32)

    np.testing.assert_allclose(similarity(tiny, huge), [[1]], rtol=1e-6)


@pytest.mark.parametrize("metric", NAMES)
@pytest.mark.parametrize("counts", [(0, 0), (0, 3), (3, 0), (1, 1)])
def test_matrices_may_be_empty(metric: SimilarityName, counts: tuple[int, int]) -> None:
    a, b = (np.ones((count, 5), np.float32) for count in counts)

    assert similarity(a, b, metric).shape == counts


@pytest.mark.parametrize("metric", NAMES)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_row_that_is_not_finite_is_named_in_the_error(metric: SimilarityName, bad: float) -> None:
    a, b = np.ones((3, 4), np.float32), np.ones((3, 4), np.float32)
    b[2, 1] = bad

    with pytest.raises(InvalidVector, match=r"'b\[2\]' has a component that is not finite"):
        similarity(a, b, metric)
    with pytest.raises(InvalidVector, match=r"'a\[2\]'"):
        similarity(b, a, metric)


def test_matrices_of_different_widths_or_dimensions_are_refused() -> None:
    with pytest.raises(InvalidVector, match="'b' has 3 components; a has 2"):
        similarity(np.ones((1, 2), np.float32), np.ones((1, 3), np.float32))
    with pytest.raises(InvalidVector, match="'a' has 1 dimensions; it must have 2"):
        similarity(np.ones(2, np.float32), np.ones((1, 2), np.float32))
    with pytest.raises(InvalidVector, match="'b' has 3 dimensions; it must have 2"):
        similarity(np.ones((1, 2), np.float32), np.ones((1, 2, 1), np.float32))


def test_an_unknown_metric_is_refused_with_the_list_of_metrics() -> None:
    one = np.ones((1, 2), np.float32)
    with pytest.raises(InvalidInput, match="'metric' is 'jaccard'; there are: cosine, dot"):
        similarity(one, one, "jaccard")  # type: ignore[arg-type]


def test_other_number_formats_are_accepted_and_arguments_stay_unchanged() -> None:
    a, b = np.array([[1, 2], [3, 4]]), np.array([[0.5, 0.25]], np.float64)
    kept = a.copy(), b.copy()
    for metric in NAMES:
        found = similarity(a, b, metric)  # type: ignore[arg-type]
        np.testing.assert_allclose(found, exact(a, b, metric), rtol=1e-6)  # type: ignore[arg-type]

    assert np.array_equal(a, kept[0])
    assert np.array_equal(b, kept[1])


@pytest.mark.parametrize("metric", NAMES)
@given(pairs(), st.integers(1, 100))
def test_blocks_of_any_size_form_the_whole_matrix(
    metric: SimilarityName, pair: tuple[Vectors, Vectors], max_bytes: int
) -> None:
    whole = similarity(*pair, metric)

    blocks = list(similarity_blocks(*pair, metric, max_bytes=max_bytes))

    assert [start for start, _ in blocks] == list(
        np.cumsum([0, *(len(block) for _, block in blocks)])[: len(blocks)]
    )
    assert all(block.nbytes <= max_bytes or len(block) == 1 for _, block in blocks)
    found = np.concatenate([np.empty((0, len(pair[1])), np.float32), *(one for _, one in blocks)])
    np.testing.assert_allclose(found, whole, rtol=1e-5, atol=1e-6 * magnitude(*pair, metric))


@pytest.mark.parametrize("metric", NAMES)
def test_blocks_need_far_less_memory_than_the_matrix(metric: SimilarityName) -> None:
    rows = np.random.default_rng(1).standard_normal((3000, 4)).astype(np.float32)
    whole_bytes = 4 * len(rows) ** 2
    similarity(rows[:1], rows[:1], metric)  # so that imports are not measured
    tracemalloc.start()
    count = sum(len(block) for _, block in similarity_blocks(rows, rows, metric, max_bytes=2**18))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert count == len(rows)
    assert peak < whole_bytes / 16


def test_blocks_of_invalid_matrices_are_refused_before_the_first_block() -> None:
    rows, broken = np.ones((2, 3), np.float32), np.full((1, 3), np.nan, np.float32)

    with pytest.raises(InvalidVector, match=r"'b\[0\]'"):
        similarity_blocks(rows, broken)
    with pytest.raises(InvalidInput, match="'metric' is 'l2'"):
        similarity_blocks(rows, rows, "l2")  # type: ignore[arg-type]


def test_squared_distances_beyond_float32_are_infinite_and_distances_are_not() -> None:
    a, b = np.full((1, 4), 1e30, np.float32), np.zeros((1, 4), np.float32)

    assert similarity(a, b, "euclidean")[0, 0] == pytest.approx(-2e30)
    with pytest.warns(RuntimeWarning, match="overflow"):
        assert similarity(a, b, "squared_euclidean")[0, 0] == -np.inf
