"""Clusters equal those of scikit-learn, or are as good; invalid rows are refused."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
from numpy.typing import NDArray

from embedder.core.errors import InvalidInput, InvalidVector
from embedder.core.types import Vectors
from embedder.core.vectors import normalize_rows
from embedder.similarity.assignment import Clusters
from embedder.similarity.clustering import cluster
from embedder.similarity.minibatch import cluster_in_batches

sklearn_cluster = pytest.importorskip("sklearn.cluster")
sklearn_metrics = pytest.importorskip("sklearn.metrics")

GROUPS = 8
Algorithm = Callable[..., Clusters]
both_ways = pytest.mark.parametrize("spherical", [True, False])
every_algorithm = pytest.mark.parametrize(
    "algorithm",
    [cluster, *(partial(cluster_in_batches, batch_rows=rows) for rows in (50, 1000))],
    ids=["cluster", "batches of 50", "batches of 1000"],
)


def blobs(
    *, width: int = 32, each: int = 40, spread: float = 0.05, seed: int = 3
) -> tuple[Vectors, NDArray[np.intp]]:
    """Draw rows around orthogonal directions, in random order; return the true clusters too."""
    random = np.random.default_rng(seed)
    centres = np.linalg.qr(random.standard_normal((width, width)))[0][:GROUPS]
    groups = random.permutation(np.repeat(np.arange(GROUPS), each))
    rows = centres[groups] + spread * random.standard_normal((len(groups), width))
    return rows.astype(np.float32), groups


def cloud(count: int = 600, width: int = 16) -> Vectors:
    """Draw rows without clusters."""
    drawn = np.random.default_rng(11).standard_normal((count, width))
    return drawn.astype(np.float32)


def best_inertia(rows: Vectors, k: int) -> float:
    """Return the least inertia that scikit-learn finds in ten attempts."""
    fitted = sklearn_cluster.KMeans(k, n_init=10, random_state=0).fit(rows.astype(np.float64))
    return float(fitted.inertia_)


def check_consistent(found: Clusters, rows: Vectors) -> None:
    """Compare labels, sizes and inertia with the rows and the centroids, in double precision."""
    apart = rows[:, None, :].astype(np.float64) - found.centroids[None, :, :]
    squares = (apart**2).sum(2)
    own = squares[np.arange(len(rows)), found.labels]

    np.testing.assert_allclose(own, squares.min(1), rtol=1e-4, atol=1e-5 * squares.max())
    assert found.inertia == pytest.approx(own.sum(), rel=1e-4)
    assert found.sizes.tolist() == np.bincount(found.labels, minlength=len(found.sizes)).tolist()


@every_algorithm
@both_ways
@pytest.mark.parametrize("seed", range(5))
def test_clearly_separated_clusters_are_found(
    algorithm: Algorithm, spherical: bool, seed: int
) -> None:
    rows, groups = blobs()
    fitted = sklearn_cluster.KMeans(GROUPS, n_init=10, random_state=0).fit_predict(rows)

    found = algorithm(rows, GROUPS, seed=seed, spherical=spherical)

    assert sklearn_metrics.adjusted_rand_score(found.labels, groups) == 1
    assert sklearn_metrics.adjusted_rand_score(found.labels, fitted) == 1
    assert sorted(found.sizes.tolist()) == [40] * GROUPS


@pytest.mark.parametrize("k", [1, 2, 7, 40])
def test_points_are_clustered_about_as_well_as_by_scikit_learn(k: int) -> None:
    rows = cloud()

    found = cluster(rows, k, spherical=False)

    assert found.inertia <= 1.05 * best_inertia(rows, k)
    check_consistent(found, rows)


def best_spherical_inertia(rows: Vectors, k: int) -> float:
    """Return the least inertia of spherical k-means in numpy from ten random starts."""
    random = np.random.default_rng(0)
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    least = np.inf
    for _ in range(10):
        centres = unit[random.choice(len(unit), k, replace=False)]
        for _ in range(50):
            labels = (unit @ centres.T).argmax(1)
            sums = np.stack([unit[labels == one].sum(0) for one in range(k)])
            centres = sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-12)
        least = min(least, float((2 - 2 * (unit @ centres.T).max(1)).sum()))
    return least


@pytest.mark.parametrize("k", [1, 2, 7, 20])
def test_directions_are_clustered_about_as_well_as_by_spherical_k_means(k: int) -> None:
    rows = cloud()

    found = cluster(rows, k)

    assert found.inertia <= 1.05 * best_spherical_inertia(rows, k)
    check_consistent(found, normalize_rows(rows))
    np.testing.assert_allclose(np.linalg.norm(found.centroids, axis=1), 1, rtol=1e-5)


def test_spherical_clusters_do_not_depend_on_lengths() -> None:
    rows, _ = blobs()
    longer = rows * np.linspace(1, 100, len(rows), dtype=np.float32)[:, None]

    assert np.array_equal(cluster(longer, GROUPS).labels, cluster(rows, GROUPS).labels)
    assert not np.array_equal(
        cluster(longer, GROUPS, spherical=False).labels, cluster(rows, GROUPS).labels
    )


@every_algorithm
@both_ways
def test_equal_seeds_give_equal_clusters(algorithm: Algorithm, spherical: bool) -> None:
    rows = cloud()
    first, again, other = (algorithm(rows, 9, seed=seed, spherical=spherical) for seed in (4, 4, 5))

    assert first.labels.tolist() == again.labels.tolist()
    assert first.centroids.tobytes() == again.centroids.tobytes()
    assert first.inertia == again.inertia
    assert first.labels.tolist() != other.labels.tolist()


@both_ways
def test_results_have_the_documented_types_and_shapes(spherical: bool) -> None:
    found = cluster(cloud(50, 6), 3, spherical=spherical)

    assert found.labels.dtype == np.int32
    assert found.centroids.dtype == np.float32
    assert found.sizes.dtype == np.int64
    assert (found.labels.shape, found.centroids.shape, found.sizes.shape) == ((50,), (3, 6), (3,))


@both_ways
def test_as_many_clusters_as_rows_hold_one_row_each(spherical: bool) -> None:
    found = cluster(cloud(30), 30, spherical=spherical)

    assert found.sizes.tolist() == [1] * 30
    assert found.inertia == pytest.approx(0, abs=1e-5)


@every_algorithm
@both_ways
@pytest.mark.parametrize("k", [1, 2, 5])
def test_equal_rows_form_one_cluster_for_any_k(
    algorithm: Algorithm, spherical: bool, k: int
) -> None:
    found = algorithm(np.ones((5, 3), np.float32), k, spherical=spherical)

    assert sorted(found.sizes.tolist())[-1] == 5
    assert found.inertia == pytest.approx(0, abs=1e-4)


@every_algorithm
@pytest.mark.parametrize(("shift", "scale"), [(1000, 1), (0, 1e30), (0, 1e-30), (3e38, 1e36)])
def test_shifted_and_scaled_points_have_the_same_clusters(
    algorithm: Algorithm, shift: float, scale: float
) -> None:
    rows, groups = blobs()
    moved = (rows.astype(np.float64) * scale + shift).astype(np.float32)

    found = algorithm(moved, GROUPS, spherical=False)

    assert sklearn_metrics.adjusted_rand_score(found.labels, groups) == 1
    assert np.isfinite(found.centroids).all()
    centre = moved[groups == groups[0]].mean(axis=0, dtype=np.float64)
    np.testing.assert_allclose(found.centroids[found.labels[0]], centre, rtol=1e-4, atol=scale / 50)


def test_all_rows_are_used_and_not_a_sample(capfd: pytest.CaptureFixture[str]) -> None:
    """By default FAISS takes 256 rows per cluster, and reports that on stderr."""
    rows = cloud(5000, 4)

    found = cluster(rows, 1, spherical=False)

    np.testing.assert_allclose(found.centroids[0], rows.mean(axis=0), atol=1e-5)
    cluster(rows[:20], 15)
    assert capfd.readouterr() == ("", "")


@every_algorithm
@pytest.mark.parametrize("k", [0, -1, 6])
def test_a_k_out_of_range_is_refused(algorithm: Algorithm, k: int) -> None:
    with pytest.raises(InvalidInput, match="between 1 and 5") as caught:
        algorithm(np.ones((5, 2), np.float32), k)

    assert caught.value.field == "k"
    assert f"is {k};" in caught.value.problem


@every_algorithm
@both_ways
@pytest.mark.parametrize("shape", [(0, 4), (3, 0)])
def test_an_empty_matrix_is_refused(
    algorithm: Algorithm, shape: tuple[int, int], spherical: bool
) -> None:
    with pytest.raises(InvalidInput, match="empty") as caught:
        algorithm(np.empty(shape, np.float32), 1, spherical=spherical)

    assert caught.value.field == "inputs"


@every_algorithm
@both_ways
@pytest.mark.parametrize("broken", [np.nan, np.inf])
def test_a_row_that_is_not_finite_is_named_in_the_error(
    algorithm: Algorithm, broken: float, spherical: bool
) -> None:
    rows = cloud(5)
    rows[3, 2] = broken

    with pytest.raises(InvalidVector, match="not finite") as caught:
        algorithm(rows, 2, spherical=spherical)

    assert caught.value.field == "inputs[3]"


@every_algorithm
def test_a_row_of_zeros_is_refused_only_by_spherical_clustering(algorithm: Algorithm) -> None:
    rows = cloud(5)
    rows[2] = 0

    with pytest.raises(InvalidVector, match="no direction") as caught:
        algorithm(rows, 2)

    assert caught.value.field == "inputs[2]"
    assert algorithm(rows, 2, spherical=False).sizes.sum() == 5


def test_a_single_vector_is_refused() -> None:
    with pytest.raises(InvalidVector, match="1 dimensions"):
        cluster(np.ones(4, np.float32), 1)
