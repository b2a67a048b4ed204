"""The projection finds what brute force finds, whatever was put and put again."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from embedder.index.points import Metric
from embedder.index.projection import ExactProjection
from embedder.types import Vectors
from tests.unit.index.oracle import TOLERANCE, scores, vectors

WIDTH = 3
NUMBERS = st.lists(st.integers(0, 11), min_size=1, max_size=8, unique=True)
PUTS = st.lists(
    NUMBERS.flatmap(lambda chosen: st.tuples(st.just(chosen), vectors(len(chosen), WIDTH))),
    min_size=1,
    max_size=4,
)
EVERY_METRIC = pytest.mark.parametrize("metric", Metric, ids=lambda metric: metric.value)


def _numbers(*numbers: int) -> NDArray[np.int64]:
    return np.array(numbers, np.int64)


@EVERY_METRIC
@given(puts=PUTS, queries=vectors(3, WIDTH), top_k=st.integers(1, 20))
@settings(max_examples=60)
def test_a_search_finds_what_brute_force_finds(
    puts: list[tuple[list[int], Vectors]], queries: Vectors, top_k: int, metric: Metric
) -> None:
    projection = ExactProjection(metric, WIDTH)
    kept: dict[int, Vectors] = {}
    for numbers, rows in puts:
        projection.put(_numbers(*numbers), rows)
        kept.update(zip(numbers, rows, strict=True))
    found, numbers_found = projection.search(queries, top_k)

    assert len(projection) == len(kept)
    assert found.shape == numbers_found.shape == (3, min(top_k, len(kept)))
    for query, row, row_numbers in zip(queries, found, numbers_found.tolist(), strict=True):
        exact = scores(metric, query, np.array(list(kept.values())))
        by_number = dict(zip(kept, exact.tolist(), strict=True))
        assert len(set(row_numbers)) == len(row_numbers)
        np.testing.assert_allclose(row, np.sort(exact)[::-1][:top_k], atol=TOLERANCE)
        np.testing.assert_allclose(row, [by_number[n] for n in row_numbers], atol=TOLERANCE)


@EVERY_METRIC
def test_many_queries_at_once_are_answered_like_each_alone(metric: Metric) -> None:
    rows = np.random.default_rng(7).normal(3, 1, (300, 32)).astype(np.float32)
    projection = ExactProjection(metric, 32)
    projection.put(np.arange(300), rows)
    together, numbers = projection.search(rows[:64], 5)
    exact = np.array([np.sort(scores(metric, row, rows))[::-1][:5] for row in rows[:64]])

    np.testing.assert_allclose(together, exact, rtol=1e-5, atol=TOLERANCE)
    if metric is not Metric.DOT:  # by which a longer vector may be nearer than oneself
        assert numbers[:, 0].tolist() == list(range(64))


@EVERY_METRIC
def test_putting_a_number_again_replaces_its_vector(metric: Metric) -> None:
    projection = ExactProjection(metric, 2)
    projection.put(_numbers(5, 6), np.array([[1, 0], [0, 1]], np.float32))
    projection.put(_numbers(5), np.array([[0, 2]], np.float32))
    found, numbers = projection.search(np.array([[0, 2]], np.float32), 10)

    assert len(projection) == 2
    assert sorted(numbers[0].tolist()) == [5, 6]
    assert {Metric.COSINE: 1, Metric.DOT: 4, Metric.L2: 0, Metric.L1: 0}[metric] == found[0, 0]


@EVERY_METRIC
def test_rows_need_not_lie_side_by_side_in_memory(metric: Metric) -> None:
    wide = np.arange(1, 25, dtype=np.float32).reshape(4, 6)
    projection = ExactProjection(metric, 3)
    projection.put(np.arange(4), wide[:, ::2])
    found, _ = projection.search(wide[1:3, ::2], 4)

    for query, row in zip(wide[1:3, ::2], found, strict=True):
        exact = np.sort(scores(metric, query, wide[:, ::2]))[::-1]
        np.testing.assert_allclose(row, exact, rtol=1e-6, atol=TOLERANCE)


@EVERY_METRIC
def test_putting_changes_nothing_of_what_was_given(metric: Metric) -> None:
    rows = np.array([[3, 4], [5, 12]], np.float32)
    projection = ExactProjection(metric, 2)
    projection.put(_numbers(1, 2), rows)
    projection.search(rows, 1)

    assert rows.tolist() == [[3, 4], [5, 12]]


def test_no_cosine_is_above_one() -> None:
    rows = np.random.default_rng(3).normal(0, 100, (200, 48)).astype(np.float32)
    projection = ExactProjection(Metric.COSINE, 48)
    projection.put(np.arange(200), rows)
    found, _ = projection.search(np.concatenate([rows, -rows]), 200)

    assert found.max() <= 1.0
    assert found.min() >= -1.0
