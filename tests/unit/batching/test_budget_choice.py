"""The choice of a budget from a curve, checked against its definition."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedder.batching.tuning import Measurement, choose_budget

POINTS = st.builds(Measurement, st.integers(1, 10**6), st.floats(1e-6, 1e3))
CURVES = st.lists(POINTS, min_size=1, max_size=12)
TOLERANCES = st.floats(0.01, 1)


@given(CURVES, TOLERANCES)
def test_the_choice_is_the_smallest_size_close_enough_to_the_best(
    curve: list[Measurement], tolerance: float
) -> None:
    def close_enough(point: Measurement) -> bool:
        return all(point.tokens_per_s >= tolerance * other.tokens_per_s for other in curve)

    by_size = sorted(curve, key=lambda point: point.tokens)

    assert choose_budget(curve, tolerance) == next(filter(close_enough, by_size)).tokens


@given(CURVES, TOLERANCES, st.randoms())
def test_the_order_of_the_points_does_not_matter(
    curve: list[Measurement], tolerance: float, random: Random
) -> None:
    shuffled = list(curve)
    random.shuffle(shuffled)

    assert choose_budget(shuffled, tolerance) == choose_budget(curve, tolerance)


@given(CURVES, TOLERANCES, TOLERANCES)
def test_a_stricter_tolerance_never_gives_a_smaller_budget(
    curve: list[Measurement], one: float, other: float
) -> None:
    strict, lax = max(one, other), min(one, other)

    assert choose_budget(curve, strict) >= choose_budget(curve, lax)


@pytest.mark.parametrize(
    ("rates", "expected"),
    [
        ([100, 200, 400, 800], 8),
        ([100, 190, 195, 200], 2),
        ([100, 200, 150, 50], 2),
        ([100, 94, 90, 101], 1),
        ([5, 5, 5, 5], 1),
    ],
    ids=["rising", "flat", "falling", "noise", "constant"],
)
def test_the_choice_for_typical_curves(rates: list[float], expected: int) -> None:
    curve = [Measurement(2**at, 2**at / rate) for at, rate in enumerate(rates)]

    assert choose_budget(curve, 0.95) == expected


@pytest.mark.parametrize("tolerance", [0.0, -1.0, 1.01, float("nan")])
def test_a_tolerance_outside_0_to_1_is_refused(tolerance: float) -> None:
    with pytest.raises(ValueError, match="within"):
        choose_budget([Measurement(1, 1.0)], tolerance)


def test_an_empty_curve_is_refused() -> None:
    with pytest.raises(ValueError, match="0 points"):
        choose_budget([])


def test_a_duration_of_zero_is_infinite_throughput() -> None:
    assert choose_budget([Measurement(1, 0.0), Measurement(2, 0.0), Measurement(4, 1.0)]) == 1
