"""A law that is found from its own exact values has the parameters that made them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.scaling.laws import (
    Find,
    Law,
    amdahl,
    asymptotic_bounds,
    descent,
    fixed_and_each,
    linear_and_square,
    mixture,
    scan,
)

POSITIVE = st.floats(0.01, 100.0)
LENGTHS = (8, 16, 32, 64, 128, 256)
SHARES = (0.0, 0.5, 0.9, 0.99, 1.0)
POINTS = (5_000, 20_000, 80_000)


def _values(law: Law) -> list[float]:
    return [parameter.value for parameter in law.parameters]


def _check(find: Find, places: Sequence[float], exact: Callable[[float], float]) -> Law:
    """Find a law from exact values, and see that it gives them back."""
    values = [exact(place) for place in places]
    law = find(places, values)
    assert [law.at(place) for place in places] == pytest.approx(values, rel=1e-6)
    return law


@given(a=POSITIVE, b=st.floats(0.001, 1.0))
def test_an_input_costs_its_tokens_and_their_square(a: float, b: float) -> None:
    law = _check(linear_and_square, LENGTHS, lambda length: a * length + b * length**2)

    assert _values(law) == pytest.approx([1e3 * a, 1e6 * b], rel=1e-4)


@given(c=POSITIVE, t=POSITIVE)
def test_a_batch_costs_something_at_all_and_something_each(c: float, t: float) -> None:
    law = _check(fixed_and_each, (1, 2, 4, 8, 16), lambda count: c + t * count)

    assert _values(law) == pytest.approx([c, t], rel=1e-4)


@given(miss=st.floats(10.0, 500.0), times=st.floats(1.5, 100.0))
def test_the_time_of_a_request_is_a_mix_and_not_its_rate(miss: float, times: float) -> None:
    hit = miss * times
    law = _check(mixture, SHARES, lambda share: 1 / ((1 - share) / miss + share / hit))

    assert _values(law) == pytest.approx([miss, hit], rel=1e-4)
    assert law.at(0.5) == pytest.approx(2 * miss * hit / (miss + hit), rel=1e-4)


def test_a_share_of_no_cost_has_no_bound() -> None:
    law = mixture((0.0, 0.9, 1.0), (100.0, 5000.0, 1e12))

    assert _values(law)[1] >= 1e11
    assert law.at(1.0) >= 1e11


@given(a=POSITIVE, b=st.floats(1e-5, 1e-2))
def test_a_flat_query_looks_at_every_point(a: float, b: float) -> None:
    law = _check(scan, POINTS, lambda count: 1000 / (a + b * count))

    assert _values(law) == pytest.approx([a, 1e6 * b], rel=1e-3)


@given(a=POSITIVE, b=POSITIVE)
def test_a_query_of_a_graph_costs_the_same_more_for_every_doubling(a: float, b: float) -> None:
    law = _check(descent, POINTS, lambda count: 1000 / (a + b * math.log2(count)))

    assert _values(law) == pytest.approx([a, 1e3 * b], rel=1e-3)
    assert 1000 / law.at(2**17) - 1000 / law.at(2**16) == pytest.approx(b, rel=1e-3)


@given(alone=st.floats(1.0, 1000.0), s=st.floats(0.0, 1.0), cores=st.integers(2, 16), lost=POSITIVE)
def test_the_serial_share_is_found_up_to_the_cores_whatever_is_beyond(
    alone: float, s: float, cores: int, lost: float
) -> None:
    within = [alone * n / (1 + s * (n - 1)) for n in range(1, cores + 1)]
    places = range(1, cores + 3)
    law = amdahl(places, [*within, lost, lost], cores=cores)

    assert _values(law) == pytest.approx([alone, s], abs=1e-6)
    assert [law.at(n) for n in range(1, cores + 1)] == pytest.approx(within, rel=1e-6)
    assert law.at(cores + 2) == law.at(cores)


@pytest.mark.parametrize(("second", "s"), [(500.0, 0.0), (50.0, 1.0)])
def test_a_serial_share_is_a_share(second: float, s: float) -> None:
    assert _values(amdahl((1, 2), (100.0, second), cores=2)) == [100.0, s]


def test_one_core_gains_nothing() -> None:
    law = amdahl((1, 2), (100.0, 90.0), cores=1)

    assert [law.at(n) for n in (1, 2)] == [100.0, 100.0]


@given(demands=st.lists(st.floats(0.001, 1.0), min_size=1, max_size=5))
def test_no_closed_queueing_network_exceeds_its_bounds(demands: list[float]) -> None:
    clients = range(1, 33)
    rates = _mean_value_analysis(demands, clients[-1])
    law = asymptotic_bounds(clients, rates)

    assert all(rate <= law.at(c) * (1 + 1e-9) for c, rate in zip(clients, rates, strict=True))
    assert _values(law) == pytest.approx([1000 * sum(demands), max(rates)])
    assert law.at(10**6) == max(rates)


def _mean_value_analysis(demands: Sequence[float], most: int) -> list[float]:
    """Return the exact rates of 1 to ``most`` clients that ask one station after the other."""
    waiting = [0.0] * len(demands)
    rates = []
    for count in range(1, most + 1):
        times = [demand * (1 + queue) for demand, queue in zip(demands, waiting, strict=True)]
        rates.append(count / sum(times))
        waiting = [rates[-1] * time for time in times]
    return rates


@pytest.mark.parametrize("find", [asymptotic_bounds, partial(amdahl, cores=2)])
def test_a_law_that_starts_from_one_needs_it(find: Find) -> None:
    with pytest.raises(ValueError, match="rate of one"):
        find((2, 4), (10.0, 20.0))
