"""The measures agree with those of the libraries that everybody uses, and refuse what has none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from embedder.errors import InvalidInput, InvalidVector
from embedder.similarity import metrics
from embedder.similarity.metrics import METRICS, similarity
from embedder.types import SimilarityName, Vectors

distance = pytest.importorskip("scipy.spatial.distance")
pairwise = pytest.importorskip("sklearn.metrics.pairwise")

NAMES: tuple[SimilarityName, ...] = get_args(SimilarityName)
SCIPY: dict[SimilarityName, str] = {"euclidean": "euclidean", "manhattan": "cityblock"}
SKLEARN: dict[SimilarityName, Callable[[Any, Any], Any]] = {
    "cosine": pairwise.cosine_similarity,
    "dot": pairwise.linear_kernel,
    "euclidean": lambda a, b: -pairwise.euclidean_distances(a, b),
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
    """Return the measure of every pair, one by one and in double precision."""
    out = np.zeros((len(a), len(b)))
    for i, x in enumerate(a.astype(np.float64)):
        for j, y in enumerate(b.astype(np.float64)):
            lengths = np.sqrt((x * x).sum()) * np.sqrt((y * y).sum())
            out[i, j] = {
                "cosine": (x * y).sum() / lengths if lengths else 0.0,
                "dot": (x * y).sum(),
                "euclidean": -np.sqrt(((x - y) ** 2).sum()),
                "manhattan": -np.abs(x - y).sum(),
            }[metric]
    return out


def sized(a: Vectors, b: Vectors, metric: SimilarityName) -> float:
    """Return how large the numbers are that a measure adds up, and thus how far it may be off."""
    lengths = [np.abs(matrix).sum(1).max(initial=1.0) for matrix in (a, b)]
    return float({"cosine": 1.0, "dot": lengths[0] * lengths[1]}.get(metric, sum(lengths)))


@pytest.mark.parametrize("metric", NAMES)
@given(pairs())
def test_every_pair_has_the_measure_worked_out_by_hand(
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
    theirs = {
        "cosine": util.cos_sim,
        "dot": util.dot_score,
        "euclidean": util.euclidean_sim,
        "manhattan": util.manhattan_sim,
    }
    random = np.random.default_rng(10)
    a, b = (random.normal(size=(count, 384)).astype(np.float32) for count in (9, 8))
    a[2] = b[2]

    assert set(METRICS) == set(theirs) == set(NAMES)
    for metric in NAMES:
        expected = theirs[metric](a, b).numpy()
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


@given(pairs(), st.integers(1, 200))
def test_blocks_of_any_size_give_the_same_distances(
    pair: tuple[Vectors, Vectors], block_bytes: int
) -> None:
    whole = similarity(*pair, "manhattan")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(metrics, "BLOCK_BYTES", block_bytes)

        assert np.array_equal(similarity(*pair, "manhattan"), whole)
