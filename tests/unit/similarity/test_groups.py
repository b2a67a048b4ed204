"""Every row is with the centroid that is nearest, and no centroid is without a row in vain."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from embedder.core.errors import InvalidInput, InvalidVector
from embedder.core.types import Vectors
from embedder.core.vectors import normalize_rows
from embedder.similarity import groups
from embedder.similarity.clustering import cluster
from embedder.similarity.groups import assign, grouped
from embedder.similarity.metrics import similarity

both_ways = pytest.mark.parametrize("spherical", [True, False])
WHOLE = st.integers(-3, 3).map(float)


def random_rows(count: int, width: int = 8, seed: int = 1) -> Vectors:
    return np.random.default_rng(seed).standard_normal((count, width)).astype(np.float32)


@st.composite
def rows_and_centroids(draw: st.DrawFn) -> tuple[Vectors, Vectors]:
    """Draw two matrices of small integers, among which many are alike."""
    width = draw(st.integers(1, 3))
    counts = draw(st.integers(1, 20)), draw(st.integers(1, 9))
    a, b = (draw(arrays(np.float32, (count, width), elements=WHOLE)) for count in counts)
    return a, b


@given(rows_and_centroids())
def test_the_nearest_centroid_is_taken_and_of_equals_the_first(
    drawn: tuple[Vectors, Vectors],
) -> None:
    rows, centroids = drawn
    squares = ((rows[:, None] - centroids[None]) ** 2).sum(2)

    found = assign(rows, centroids, spherical=False)

    assert found.dtype == np.int32
    assert found.tolist() == squares.argmin(1).tolist()


@both_ways
@pytest.mark.parametrize("block_bytes", [1, 2000, 2**24])
def test_rows_go_where_the_measure_is_largest(
    spherical: bool, block_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(groups, "BLOCK_BYTES", block_bytes)
    rows, centroids = random_rows(200), 3 * random_rows(9, seed=2)
    measured = similarity(rows, centroids, "cosine" if spherical else "euclidean")

    found = assign(rows, centroids, spherical=spherical)

    assert found.tolist() == measured.argmax(1).tolist()


@both_ways
def test_the_groups_that_were_found_are_found_again(spherical: bool) -> None:
    rows = random_rows(500)
    found = cluster(rows, 12, spherical=spherical)

    assert assign(rows, found.centroids, spherical=spherical).tolist() == found.labels.tolist()


def test_directions_are_told_apart_where_single_precision_has_one_cosine() -> None:
    rows = np.array([[1, 0], [1, 1e-4], [1, 2e-4]], np.float32)

    assert similarity(rows[1:2], rows).tolist() == [[1, 1, 1]]
    assert assign(rows, rows).tolist() == [0, 1, 2]


@pytest.mark.parametrize("scale", [1e-30, 1, 1e18, 3e38])
def test_places_may_be_as_far_apart_as_numbers_go(scale: float) -> None:
    places = np.array([[-1, -1], [-0.9, -1], [1, 1]], np.float32) * np.float32(scale)

    assert assign(places, places[[2, 0]], spherical=False).tolist() == [1, 1, 0]
    found = grouped(places, places[[2, 0]], spherical=False)
    assert found.inertia == pytest.approx(0.01 * scale**2, rel=1e-5)


@both_ways
def test_a_centroid_that_no_row_is_nearest_to_goes_to_a_row_far_from_its_own(
    spherical: bool,
) -> None:
    rows = np.array([[1, 0], [1, 0.05], [1, 0.2], [-1, 5]], np.float32)
    centroids = np.array([[1, 0], [0, -9], [0.9, -9]], np.float32)

    found = grouped(rows, centroids, spherical=spherical)

    assert found.labels.tolist() == [0, 0, 2, 1]
    assert found.sizes.tolist() == [2, 1, 1]
    expected = rows[[3, 2]]
    np.testing.assert_allclose(
        found.centroids[1:], normalize_rows(expected) if spherical else expected, rtol=1e-6
    )
    assert centroids[1].tolist() == [0, -9]  # what was given has not changed


@both_ways
@given(
    arrays(np.float32, st.tuples(st.integers(1, 12), st.just(2)), elements=st.integers(1, 4)),
    st.integers(1, 12),
)
def test_a_group_is_empty_only_where_there_are_too_few_different_rows(
    spherical: bool, rows: Vectors, k: int
) -> None:
    """All centroids begin at one place, far from all rows but one group."""
    apart = {
        (x / np.hypot(x, y), y / np.hypot(x, y)) if spherical else (x, y) for x, y in rows.tolist()
    }
    different = len({(round(x, 6), round(y, 6)) for x, y in apart})

    found = grouped(rows, np.full((k, 2), -50, np.float32), spherical=spherical)

    assert (found.sizes > 0).sum() == min(k, different)
    assert found.sizes.tolist() == np.bincount(found.labels, minlength=k).tolist()
    assert assign(rows, found.centroids, spherical=spherical).tolist() == found.labels.tolist()


def test_a_centroid_without_a_direction_gets_one() -> None:
    rows = np.array([[2, 0], [-2, 0]], np.float32)

    found = grouped(rows, np.zeros((1, 2), np.float32), spherical=True)

    assert found.centroids.tolist() == [[1, 0]]
    assert found.labels.tolist() == [0, 0]
    assert found.inertia == pytest.approx(4)
    assert np.linalg.norm(cluster(rows, 1).centroids) == pytest.approx(1)


def test_what_cannot_be_assigned_is_refused_by_name() -> None:
    rows, zeros = np.ones((3, 2), np.float32), np.zeros((3, 2), np.float32)

    with pytest.raises(InvalidInput, match="'inputs' must not be empty"):
        assign(rows[:0], rows)
    with pytest.raises(InvalidInput, match="'centroids' must not be empty"):
        assign(rows, rows[:0])
    with pytest.raises(InvalidVector, match="'centroids' has 1 components; inputs has 2"):
        assign(rows, rows[:, :1])
    with pytest.raises(InvalidVector, match="'inputs' has 1 dimensions; it must have 2"):
        assign(rows[0], rows)
    with pytest.raises(InvalidVector, match=r"'centroids\[0\]' has a component that is not finite"):
        assign(rows, rows * np.inf)
    with pytest.raises(InvalidVector, match=r"'inputs\[0\]' has no direction"):
        assign(zeros, rows)
    with pytest.raises(InvalidVector, match=r"'centroids\[0\]' has no direction"):
        assign(rows, zeros)
    assert assign(zeros, zeros, spherical=False).tolist() == [0, 0, 0]
