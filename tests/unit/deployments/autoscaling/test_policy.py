"""The number of replicas of each stage: bounds, fixed points, steps, zero, noise and overflow."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.autoscaling.policy import (
    HYSTERESIS,
    Reason,
    ScalingLimits,
    StageLoad,
    StageState,
    decide,
)

STEP_S = 0.5
LIMITS = ScalingLimits(1, 8, downscale_delay_s=30.0)
NUMBERS = st.floats(allow_nan=True, allow_infinity=True)
LOADS = st.builds(StageLoad, st.integers(0, 9), NUMBERS, NUMBERS, NUMBERS)


def _limits(bounds: tuple[int, int], **changes: float) -> ScalingLimits:
    return ScalingLimits(min(bounds), max(1, *bounds), **changes)  # type: ignore[arg-type]


BOUNDS = st.tuples(st.integers(0, 9), st.integers(0, 9))


def _run(
    loads: Iterable[StageLoad], limits: ScalingLimits = LIMITS, state: StageState | None = None
) -> list[StageState]:
    """Return the states of one stage, a load every `STEP_S`."""
    history: list[StageState] = []
    for step, load in enumerate(loads):
        states = {} if state is None else {"A": state}
        state = decide({"A": load}, {"A": limits}, states, 1e9 + step * STEP_S)["A"]
        history.append(state)
    return history


def _turns(history: Iterable[StageState]) -> int:
    """Return how often the target changed its direction."""
    targets = [state.target for state in history]
    signs = [after > before for before, after in pairwise(targets) if after != before]
    return sum(after != before for before, after in pairwise(signs))


def _replicas(arriving: float, rate: float, limits: ScalingLimits = LIMITS) -> int:
    """Return the fewest replicas within the bounds that are busy for their share or less."""
    fitting = (
        count
        for count in range(1, limits.max_replicas)
        if arriving <= count * rate * limits.target_utilization * (1 + 1e-9)
    )
    return max(next(fitting, limits.max_replicas), limits.min_replicas)


@given(loads=st.lists(LOADS, max_size=60), bounds=BOUNDS, start=st.integers(0, 20))
def test_the_target_never_leaves_the_bounds(
    loads: list[StageLoad], bounds: tuple[int, int], start: int
) -> None:
    limits = _limits(bounds, downscale_delay_s=3.0)

    for state in _run(loads, limits, StageState(start)):
        assert limits.min_replicas <= state.target <= limits.max_replicas


@given(
    arriving=st.floats(1.0, 1e6),
    rate=st.floats(1.0, 1e6),
    bounds=BOUNDS,
    start=st.integers(0, 9),
)
def test_a_constant_load_reaches_a_fixed_point_with_one_turn_at_most(
    arriving: float, rate: float, bounds: tuple[int, int], start: int
) -> None:
    limits = _limits(bounds, downscale_delay_s=30.0)
    history = _run([StageLoad(1, arriving, 0.0, rate)] * 200, limits, StageState(start))

    assert _turns(history) <= 1  # once from the start's own bounds
    last = history[-1].target
    assert {state.target for state in history[-60:]} == {last}
    # Replicas beyond those that the load needs stay only where fewer would be almost too busy.
    least = _replicas(arriving * 0.98, rate, limits)
    most = _replicas(arriving / (1 - HYSTERESIS) * 1.02, rate, limits)
    assert least <= last <= most


@given(rate=st.floats(1.0, 1e6), share=st.floats(0.1, 0.52))
def test_a_step_is_followed_within_seconds_and_undone_after_the_delay(
    rate: float, share: float
) -> None:
    once, five = ([StageLoad(1, factor * share * rate, 0.0, rate)] for factor in (1, 5))
    history = _run([*once * 20, *five * 60, *once * 140])

    # After 4 s the average of the arrivals that was decided by is at least 93 % of them.
    soon, least, wanted = (_replicas(5 * part * share * rate, rate) for part in (0.93, 0.98, 1))
    assert history[19].target == 1
    assert soon <= history[20 + int(4.0 / STEP_S)].target <= wanted
    assert history[79].target in (least, wanted)
    assert {state.target for state in history[60 : 79 + int(30 / STEP_S)]} == {history[79].target}
    assert history[-1].target == 1
    assert _turns(history) == (1 if history[79].target > 1 else 0)


def test_a_stage_without_work_goes_to_zero_and_returns_at_once() -> None:
    limits = replace(LIMITS, min_replicas=0)
    busy, idle = StageLoad(2, 100.0, 0.0, 100.0), StageLoad(2, 0.0, 0.0, 0.0)
    history = _run([*[busy] * 20, *[idle] * 200], limits)

    assert history[19].target == 2
    assert history[-1].target == 0
    assert history[-1].reason is Reason.IDLE

    woken = _run([StageLoad(0, 0.0, queued=1.0)], limits, replace(history[-1]))
    assert (woken[0].target, woken[0].reason) == (1, Reason.WAKE)
    # The rate that its replicas had is still known.
    woken = _run([StageLoad(0, arriving_per_s=0.0, queued=4000.0)], limits, history[-1])
    assert woken[0].target == 6


@given(queued=st.floats(1e-3, 1e9))
def test_a_stage_that_was_never_measured_starts_one_replica(queued: float) -> None:
    limits = replace(LIMITS, min_replicas=0)
    history = _run([StageLoad(0)] * 3 + [StageLoad(0, queued=queued)] * 40, limits)

    assert [state.target for state in history] == [0] * 3 + [1] * 40


@given(
    noise=st.lists(
        st.tuples(st.floats(0.2, 1.8), st.floats(0.7, 1.3), st.floats(0, 2)),
        min_size=20,
        max_size=20,
    )
)
def test_noise_never_reverses_a_rise_within_the_delay(
    noise: list[tuple[float, float, float]],
) -> None:
    history = _run(
        StageLoad(3, 200.0 * arriving, 100.0 * queued, 100.0 * rate)
        for arriving, rate, queued in noise * 20
    )

    # 200 s of noise around 2.9 replicas.
    targets = [state.target for state in history]
    changes = [step for step in range(1, 400) if targets[step] != targets[step - 1]]
    for earlier, later in pairwise(changes):
        if targets[earlier] > targets[earlier - 1] and targets[later] < targets[later - 1]:
            assert (later - earlier) * STEP_S >= LIMITS.downscale_delay_s


def test_the_target_falls_to_the_need_as_soon_as_the_delay_is_over() -> None:
    high, low = StageLoad(6, 420.0, 0.0, 100.0), StageLoad(6, 50.0, 0.0, 100.0)
    history = _run([*[high] * 20, *[low] * 100])

    delay = int(LIMITS.downscale_delay_s / STEP_S)
    assert {state.target for state in history[10 : 20 + delay - 1]} == {6}
    # The average of the arrivals had fallen 6 s after they had.
    assert history[20 + delay + int(6 / STEP_S)].target == 1


@given(value=st.sampled_from([0.0, math.nan, math.inf, -5.0]), after=st.integers(1, 50))
def test_missing_or_invalid_rates_keep_the_last_one(value: float, after: int) -> None:
    known = [StageLoad(3, 200.0, 0.0, 100.0)] * 20
    history = _run([*known, *[StageLoad(3, 200.0, 0.0, value)] * after])

    assert history[-1].target == history[19].target == 3
    assert history[-1].replica_per_s == pytest.approx(100.0)


@given(value=st.sampled_from([math.nan, math.inf, -5.0]))
def test_invalid_arrivals_count_as_none(value: float) -> None:
    assert _run([StageLoad(3, value, value, 100.0)] * 100, state=StageState(3))[-1].target == 1


def test_a_replica_count_outside_changed_bounds_is_corrected_at_once() -> None:
    state = _run([StageLoad(9, 900.0, 0.0, 100.0)], LIMITS, StageState(9))[-1]

    assert (state.target, state.reason) == (8, Reason.BOUNDS)


@pytest.mark.parametrize(
    ("load", "reason"),
    [
        (StageLoad(1, 500.0, 10.0, 100.0), Reason.ARRIVALS),
        (StageLoad(1, 10.0, 5000.0, 100.0), Reason.QUEUE),
    ],
)
def test_the_reason_names_the_larger_part_of_the_work(load: StageLoad, reason: Reason) -> None:
    assert _run([load] * 10)[-1].reason is reason


def _simulate(
    arriving_of: Callable[[float], float], limits: ScalingLimits, *, rate: float, start_s: float
) -> list[tuple[StageState, float]]:
    """Return the states and the queue of a stage whose replicas need ``start_s`` to start."""
    history: list[tuple[StageState, float]] = []
    state = StageState(limits.min_replicas)
    ready, queued = [-math.inf] * limits.min_replicas, 0.0
    for step in range(1200):
        now = step * STEP_S
        running = sum(since <= now for since in ready)
        arriving = arriving_of(now)
        queued = max(0.0, queued + (arriving - running * rate) * STEP_S)
        load = StageLoad(running, arriving, queued, rate)
        state = decide({"A": load}, {"A": limits}, {"A": state}, now)["A"]
        ready = [*ready, *[now + start_s] * (state.target - len(ready))][: state.target]
        history.append((state, queued))
    return history


@pytest.mark.parametrize("start_s", [2.0, 20.0, 60.0])
def test_the_queue_of_a_start_is_emptied_and_the_target_turns_once(start_s: float) -> None:
    limits = ScalingLimits(1, 40, downscale_delay_s=120.0)
    history = _simulate(
        lambda now: 500.0 if 100.0 <= now < 350.0 else 100.0 * 0.5,
        limits,
        rate=100.0,
        start_s=start_s,
    )

    assert history[int(105 / STEP_S)][0].target >= _replicas(500.0, 100.0, limits)
    assert history[int((130 + start_s) / STEP_S)][1] == 0.0
    assert history[-1][0].target == 1
    # More replicas than the arrivals alone need work the queue of the start off.
    assert _turns([state for state, _ in history]) == 1
