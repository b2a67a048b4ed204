"""Groups are the connected components of similar pairs, each with one representative."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from embedder.core.errors import InvalidInput, InvalidVector
from embedder.core.types import SimilarityName, Vectors
from embedder.similarity import metrics
from embedder.similarity.metrics import similarity
from embedder.similarity.pairs import NearDuplicates, near_duplicates

sparse_graph = pytest.importorskip("scipy.sparse.csgraph")

NAMES: tuple[SimilarityName, ...] = get_args(SimilarityName)
POINTS = arrays(
    np.float32,
    st.tuples(st.integers(0, 25), st.integers(1, 2)),
    elements=st.integers(-9, 9).map(float),
)


def components(near: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> list[list[int]]:
    """Return the components of two or more rows that scipy finds, sorted by their lowest row."""
    if not len(near):
        return []
    _, labels = sparse_graph.connected_components(near, directed=False)
    found = [np.flatnonzero(labels == label).tolist() for label in np.unique(labels)]
    return sorted(group for group in found if len(group) > 1)


def check_consistent(found: NearDuplicates, count: int) -> None:
    """Compare the groups with the representatives of the rows."""
    alone = set(range(count)) - {row for group in found.groups for row in group.tolist()}
    standing = {row: row for row in alone}
    for group in found.groups:
        standing |= dict.fromkeys(group.tolist(), group[0])
    assert found.representative_of.tolist() == [standing[row] for row in range(count)]
    assert found.kept().tolist() == sorted(set(standing.values()))


@given(POINTS, st.integers(-4, 0), st.sampled_from([1, 3, 1000]))
def test_groups_equal_the_components_of_scipy(
    rows: Vectors, threshold: int, block_rows: int
) -> None:
    expected = components(similarity(rows, rows, "manhattan") >= threshold)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(metrics, "BLOCK_ROWS", block_rows)
        found = near_duplicates(rows, threshold, "manhattan")

    assert [group.tolist() for group in found.groups] == expected
    check_consistent(found, len(rows))


def test_a_chain_in_any_order_is_one_group() -> None:
    """Neighbours are similar, the ends are not."""
    points = np.random.default_rng(6).permutation(3000)

    found = near_duplicates(points[:, None].astype(np.float32), -1, "manhattan")

    assert [len(group) for group in found.groups] == [3000]
    assert found.kept().tolist() == [0]


def test_many_equal_rows_are_one_group() -> None:
    found = near_duplicates(np.ones((2500, 3), np.float32), 0.999)

    assert found.kept().tolist() == [0]
    assert len(found.groups[0]) == 2500


@pytest.mark.parametrize("metric", NAMES)
def test_copies_with_a_little_noise_are_found(metric: SimilarityName) -> None:
    random = np.random.default_rng(7)
    rows = random.standard_normal((60, 64)).astype(np.float32)
    copies = rows[[5, 9, 9]] + 1e-3 * random.standard_normal((3, 64)).astype(np.float32)
    thresholds = {"cosine": 0.99, "dot": 40.0, "manhattan": -2.0}
    every = np.concatenate([rows, copies])
    if metric == "dot":
        every /= np.linalg.norm(every, axis=1, keepdims=True) / 7

    found = near_duplicates(every, thresholds.get(metric, -0.1), metric)

    assert [group.tolist() for group in found.groups] == [[5, 60], [9, 61, 62]]
    assert len(found.kept()) == 60


@pytest.mark.parametrize("count", [0, 1])
def test_fewer_than_two_rows_have_no_duplicates(count: int) -> None:
    found = near_duplicates(np.ones((count, 2), np.float32), 0.5)

    assert found.groups == ()
    assert found.kept().tolist() == list(range(count))


def test_rows_of_zeros_are_no_duplicates_by_the_cosine() -> None:
    zeros = np.zeros((2, 3), np.float32)

    assert near_duplicates(zeros, 0.5).groups == ()
    assert len(near_duplicates(zeros, -0.5, "euclidean").groups) == 1


def test_invalid_arguments_are_refused_by_name() -> None:
    rows = np.ones((3, 2), np.float32)

    with pytest.raises(InvalidInput, match="'threshold' is not a number"):
        near_duplicates(rows, float("nan"))
    with pytest.raises(InvalidVector, match=r"'inputs\[0\]'"):
        near_duplicates(rows * np.nan, 0.5)
