"""Rows belong to their nearest centroid, and clusters stay empty only if too few rows differ."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from embedder.core.types import Vectors
from embedder.core.vectors import normalize_rows
from embedder.similarity import assignment
from embedder.similarity.assignment import assign_clusters, nearest_centroids
from embedder.similarity.clustering import cluster
from embedder.similarity.metrics import similarity
from tests.unit.similarity.matrices import integer_matrices

both_ways = pytest.mark.parametrize("spherical", [True, False])


def random_rows(count: int, width: int = 8, seed: int = 1) -> Vectors:
    return np.random.default_rng(seed).standard_normal((count, width)).astype(np.float32)


def labels_of(rows: Vectors, centroids: Vectors, *, spherical: bool) -> list[int]:
    labels, _ = nearest_centroids(rows, centroids, spherical=spherical)
    assert labels.dtype == np.int32
    result: list[int] = labels.tolist()
    return result


@given(integer_matrices(st.integers(1, 20), st.integers(1, 9)))
def test_a_row_belongs_to_the_first_of_its_nearest_centroids(
    drawn: tuple[Vectors, Vectors],
) -> None:
    rows, centroids = drawn
    squares = ((rows[:, None] - centroids[None]) ** 2).sum(2)

    assert labels_of(rows, centroids, spherical=False) == squares.argmin(1).tolist()


@both_ways
@pytest.mark.parametrize("block_bytes", [1, 2000, 2**24])
def test_a_row_belongs_to_the_centroid_of_the_largest_similarity(
    spherical: bool, block_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(assignment, "BLOCK_BYTES", block_bytes)
    rows, centroids = random_rows(200), 3 * random_rows(9, seed=2)
    scores = similarity(rows, centroids, "cosine" if spherical else "euclidean")

    assert labels_of(rows, centroids, spherical=spherical) == scores.argmax(1).tolist()


@both_ways
def test_labels_of_clusters_follow_from_their_centroids(spherical: bool) -> None:
    rows = random_rows(500)
    found = cluster(rows, 12, spherical=spherical)

    assert labels_of(rows, found.centroids, spherical=spherical) == found.labels.tolist()


def test_directions_with_equal_cosines_in_single_precision_are_distinguished() -> None:
    rows = np.array([[1, 0], [1, 1e-4], [1, 2e-4]], np.float32)

    assert similarity(rows[1:2], rows).tolist() == [[1, 1, 1]]
    assert labels_of(rows, rows, spherical=True) == [0, 1, 2]


@pytest.mark.parametrize("scale", [1e-30, 1, 1e18, 3e38])
def test_points_may_have_any_scale_of_float32(scale: float) -> None:
    points = np.array([[-1, -1], [-0.9, -1], [1, 1]], np.float32) * np.float32(scale)

    assert labels_of(points, points[[2, 0]], spherical=False) == [1, 1, 0]
    found = assign_clusters(points, points[[2, 0]], spherical=False)
    assert found.inertia == pytest.approx(0.01 * scale**2, rel=1e-5)


@both_ways
def test_the_centroid_of_an_empty_cluster_moves_to_a_row_far_from_its_own(
    spherical: bool,
) -> None:
    rows = np.array([[1, 0], [1, 0.05], [1, 0.2], [-1, 5]], np.float32)
    centroids = np.array([[1, 0], [0, -9], [0.9, -9]], np.float32)

    found = assign_clusters(rows, centroids, spherical=spherical)

    assert found.labels.tolist() == [0, 0, 2, 1]
    assert found.sizes.tolist() == [2, 1, 1]
    expected = rows[[3, 2]]
    np.testing.assert_allclose(
        found.centroids[1:], normalize_rows(expected) if spherical else expected, rtol=1e-6
    )
    assert centroids[1].tolist() == [0, -9]  # the argument is unchanged


@both_ways
@given(
    arrays(np.float32, st.tuples(st.integers(1, 12), st.just(2)), elements=st.integers(1, 4)),
    st.integers(1, 12),
)
def test_a_cluster_is_empty_only_if_too_few_rows_differ(
    spherical: bool, rows: Vectors, k: int
) -> None:
    """All centroids start at one point far from all rows."""
    distinct = {
        (x / np.hypot(x, y), y / np.hypot(x, y)) if spherical else (x, y) for x, y in rows.tolist()
    }
    different = len({(round(x, 6), round(y, 6)) for x, y in distinct})

    found = assign_clusters(rows, np.full((k, 2), -50, np.float32), spherical=spherical)

    assert (found.sizes > 0).sum() == min(k, different)
    assert found.sizes.tolist() == np.bincount(found.labels, minlength=k).tolist()
    assert labels_of(rows, found.centroids, spherical=spherical) == found.labels.tolist()


def test_a_zero_centroid_gets_a_direction() -> None:
    rows = np.array([[2, 0], [-2, 0]], np.float32)

    found = assign_clusters(rows, np.zeros((1, 2), np.float32), spherical=True)

    assert found.centroids.tolist() == [[1, 0]]
    assert found.labels.tolist() == [0, 0]
    assert found.inertia == pytest.approx(4)
    assert np.linalg.norm(cluster(rows, 1).centroids) == pytest.approx(1)
