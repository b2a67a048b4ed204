"""A series has the medians of its rounds beside what its law predicts."""

from __future__ import annotations

import pytest

from benchmarks.scaling.laws import fixed_and_each
from benchmarks.scaling.series import series
from tests.unit.benchmarks.scaling.outcomes import law


def test_points_are_medians_in_the_order_of_x() -> None:
    found = series("a", [(4, [9.0, 1.0, 5.0]), (1, [2.0])], fixed_and_each)

    assert [point.x for point in found.points] == [1, 4]
    assert [point.measured for point in found.points] == [2.0, 5.0]
    assert [point.predicted for point in found.points] == pytest.approx([2.0, 5.0])


def test_a_deviation_is_by_what_part_the_measured_is_above_the_predicted() -> None:
    found = series("", [(1, [3.0]), (2, [1.0])], lambda xs, ys: law(2.0))

    assert [point.deviation for point in found.points] == [0.5, -0.5]


def test_the_farthest_point_may_be_below_its_law() -> None:
    found = series("", [(1, [3.0]), (2, [0.5]), (3, [2.0])], lambda xs, ys: law(2.0))

    assert found.farthest.x == 2
    assert found.farthest.deviation == -0.75
