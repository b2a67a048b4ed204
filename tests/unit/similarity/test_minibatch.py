"""Mini-batch k-means finds nearly the clusters of k-means, in little memory."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from embedder.core.errors import InvalidInput
from embedder.core.types import Vectors
from embedder.core.vectors import normalize_rows
from embedder.similarity import assignment
from embedder.similarity.clustering import cluster
from embedder.similarity.minibatch import cluster_in_batches
from tests.unit.similarity.test_clustering import (
    best_inertia,
    best_spherical_inertia,
    both_ways,
    check_consistent,
    cloud,
)


@both_ways
@pytest.mark.parametrize("k", [1, 7, 40])
def test_inertia_is_close_to_that_of_k_means(spherical: bool, k: int) -> None:
    rows = cloud(1000)
    best = (best_spherical_inertia if spherical else best_inertia)(rows, k)

    found = cluster_in_batches(rows, k, spherical=spherical, batch_rows=200, passes=5)

    assert found.inertia <= 1.05 * best
    check_consistent(found, normalize_rows(rows) if spherical else rows)


@both_ways
def test_more_passes_reduce_the_inertia(spherical: bool) -> None:
    rows = cloud(3000)
    once, often = (
        cluster_in_batches(rows, 20, spherical=spherical, batch_rows=200, passes=passes).inertia
        for passes in (1, 10)
    )

    assert often < once
    assert often <= 1.02 * cluster(rows, 20, spherical=spherical).inertia


@both_ways
@pytest.mark.parametrize("batch_rows", [1, 7, 1000])
def test_as_many_clusters_as_rows_hold_one_row_each(spherical: bool, batch_rows: int) -> None:
    found = cluster_in_batches(cloud(30), 30, spherical=spherical, batch_rows=batch_rows)

    assert found.sizes.tolist() == [1] * 30
    assert found.inertia == pytest.approx(0, abs=1e-5)


@both_ways
def test_a_mapped_file_is_read_batch_by_batch(
    spherical: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(assignment, "BLOCK_BYTES", 2**20)
    rows: Vectors = cloud(6000, 512)
    np.save(tmp_path / "rows.npy", rows)
    mapped = np.load(tmp_path / "rows.npy", mmap_mode="r")
    tracemalloc.start()
    found = cluster_in_batches(mapped, 5, spherical=spherical, batch_rows=256)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak < rows.nbytes / 2
    whole = cluster_in_batches(rows, 5, spherical=spherical, batch_rows=256)
    assert found.labels.tolist() == whole.labels.tolist()


@pytest.mark.parametrize(
    ("arguments", "field", "words"),
    [
        ({"batch_rows": 0}, "batch_rows", "is 0; it must be at least 1"),
        ({"passes": 0}, "passes", "is 0; it must be at least 1"),
    ],
)
def test_numbers_out_of_range_are_refused(
    arguments: dict[str, int], field: str, words: str
) -> None:
    with pytest.raises(InvalidInput, match=words) as caught:
        cluster_in_batches(np.ones((5, 2), np.float32), **{"k": 1, **arguments})  # type: ignore[arg-type]

    assert caught.value.field == field
