"""A load that varies around a constant mean makes the target turn at most once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from deployments.autoscaling.policy import ScalingLimits, StageLoad, StageState, decide

LIMITS = ScalingLimits(1, 30, downscale_delay_s=1.0)
SECONDS = 150
HELD_S = 5
"""Seconds for which a load lasts, so that its average follows it."""

FACTORS = st.lists(st.sampled_from([0.935, 1.0, 1.065]), min_size=1, max_size=8)
"""Of arrivals and rate, so the need varies by 14 %."""


def _targets(loads: Iterable[StageLoad], limits: ScalingLimits, start: int) -> list[int]:
    """Return the targets of one stage, with a load every second."""
    targets, state = [start], StageState(start)
    for second, load in enumerate(loads):
        state = decide({"A": load}, {"A": limits}, {"A": state}, 1e9 + second)["A"]
        targets.append(state.target)
    return targets


def _grows_only_at_first(targets: Iterable[int]) -> bool:
    grows = [after > before for before, after in pairwise(targets) if after != before]
    return grows == sorted(grows, reverse=True)


@given(needed=st.floats(0.1, 20.0), arriving=FACTORS, rates=FACTORS, start=st.integers(1, 20))
def test_noise_never_makes_it_grow_after_it_has_shrunk_however_short_the_delay(
    needed: float, arriving: list[float], rates: list[float], start: int
) -> None:
    loads = [
        StageLoad(
            1,
            70.0 * needed * arriving[second // HELD_S % len(arriving)],
            replica_per_s=100.0 * rates[second // HELD_S % len(rates)],
        )
        for second in range(SECONDS)
    ]
    targets = _targets(loads, LIMITS, start)

    assert _grows_only_at_first(targets)


@given(
    per_s=st.floats(1.0, 1000.0),
    short_s=st.floats(1e-3, 0.01),
    times=st.floats(1.0, 20.0),
    shares=st.lists(st.floats(0.0, 1.0), min_size=1, max_size=4),
)
def test_a_mixture_that_returns_within_the_delay_makes_it_turn_at_most_once(
    per_s: float, short_s: float, times: float, shares: list[float]
) -> None:
    """Requests of two kinds, of which the share of those that take longer changes."""
    limits = replace(LIMITS, downscale_delay_s=5.0 * HELD_S)
    costs = [
        short_s * (1 + shares[second // HELD_S % len(shares)] * (times - 1))
        for second in range(SECONDS)
    ]
    targets = _targets([StageLoad(1, per_s, replica_per_s=1 / cost) for cost in costs], limits, 1)

    assert _grows_only_at_first(targets)
