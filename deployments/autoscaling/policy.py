"""How many replicas each stage needs: a pure function of the measured load.

A stage needs as many replicas as do its arriving work, and its queued work within ``drain_s``,
while each of them is busy for ``target_utilization`` of the time. It grows soon and shrinks late:
the need must exceed the target for ``upscale_delay_s``; and the target is never below the largest
need of the last ``downscale_delay_s``. So it shrinks no earlier than that time after it has grown,
however noisy the load is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

from deployments.autoscaling.load import Reason, Recent, ScalingLimits, StageLoad, StageState

__all__ = ["Reason", "ScalingLimits", "StageLoad", "StageState", "decide"]

SMOOTHING_S = 1.0
"""Time constant of the average of arrivals, in seconds: with reports every second, a step of the
load counts for two thirds after one report."""

RATE_SMOOTHING_S = 2.0
"""Time constant of the average of measured rates, in seconds."""

SATURATED_S = 0.5
"""Seconds of work that must wait for a stage with batches before its measured rate is all that it
can do: its batches are full then."""

HYSTERESIS = 0.25
"""A stage shrinks only if the replicas left are less busy than the target by this share. So a need
that varies by 14 % around its mean never makes it shrink and grow again: 1.14 / 0.86 < 1 / 0.75."""

TOLERANCE = 0.01
"""Replicas by which the need may exceed a whole number."""

START_S = 60.0
"""Seconds without any replica after which a stage passes its work on, although replicas are wanted:
no node may have what they need."""


def decide(
    loads: Mapping[str, StageLoad],
    limits: Mapping[str, ScalingLimits],
    states: Mapping[str, StageState],
    now_s: float,
) -> dict[str, StageState]:
    """Return the new state of every stage in ``loads``.

    ``limits`` has an entry for each of them. A stage without a state has its minimum of replicas.
    """
    measured = {
        name: _measure(
            load, limits[name], states.get(name) or StageState(limits[name].min_replicas), now_s
        )
        for name, load in loads.items()
    }
    passed = _overflow(loads, limits, measured, now_s)
    return {
        name: _decide_stage(loads[name], limits[name], state, passed[name], now_s)
        for name, state in measured.items()
    }


def _measure(load: StageLoad, limits: ScalingLimits, state: StageState, now_s: float) -> StageState:
    """Return the state with the averages up to now, and since when the stage has no replica."""
    elapsed_s = max(0.0, now_s - state.updated_s)
    arriving = _valid(load.arriving_per_s)
    if state.arriving_per_s is not None:
        arriving = _average(state.arriving_per_s, arriving, elapsed_s, SMOOTHING_S)
    empty_since_s = None
    if load.running == 0 and state.target:
        empty_since_s = now_s if state.empty_since_s is None else state.empty_since_s
    rate = _rate(load, limits, state.replica_per_s, elapsed_s)
    state = replace(state, updated_s=now_s, empty_since_s=empty_since_s)
    return replace(state, arriving_per_s=arriving, replica_per_s=rate)


def _rate(load: StageLoad, limits: ScalingLimits, known: float, elapsed_s: float) -> float:
    """Return what one replica can do each second; 0 while that is unknown."""
    measured = _valid(load.replica_per_s)
    known = known or _valid(load.initial_per_s) or measured
    if not measured:
        return known
    saturated = _valid(load.queued) >= SATURATED_S * max(load.running, 1) * measured
    if limits.batches and measured < known and not saturated:
        return known
    return _average(known, measured, elapsed_s, RATE_SMOOTHING_S)


def _overflow(
    loads: Mapping[str, StageLoad],
    limits: Mapping[str, ScalingLimits],
    states: Mapping[str, StageState],
    now_s: float,
) -> dict[str, float]:
    """Return the work per second that each stage gets from stages that cannot do it."""
    passed = dict.fromkeys(loads, 0.0)
    for name, state in states.items():
        surplus = _work(loads[name], limits[name], state) - _capacity(limits[name], state)
        if state.empty_since_s is not None and now_s - state.empty_since_s >= START_S:
            surplus = _work(loads[name], limits[name], state)
        for other in limits[name].overflow:
            if surplus <= 0 or other not in states:
                continue
            own = _work(loads[other], limits[other], states[other]) + passed[other]
            taken = min(surplus, max(0.0, _capacity(limits[other], states[other]) - own))
            passed[other] += taken
            surplus -= taken
    return passed


def _work(load: StageLoad, limits: ScalingLimits, state: StageState) -> float:
    """Return the work per second that keeps up with the arrivals and empties the queue in time."""
    return (state.arriving_per_s or 0.0) + _valid(load.queued) / limits.drain_s


def _capacity(limits: ScalingLimits, state: StageState) -> float:
    """Return the work per second of all replicas that the stage may have; unlimited if unknown."""
    if not limits.max_replicas:
        return 0.0
    if not state.replica_per_s:
        return math.inf
    return limits.max_replicas * limits.target_utilization * state.replica_per_s


def _decide_stage(
    load: StageLoad, limits: ScalingLimits, state: StageState, passed: float, now_s: float
) -> StageState:
    """Return the state with the target for this moment."""
    waits = _valid(load.arriving_per_s) > 0 or _valid(load.queued) > 0
    works = waits or passed > 0
    if state.replica_per_s:
        per_replica = limits.target_utilization * state.replica_per_s
        needed = (_work(load, limits, state) + passed) / per_replica
    else:  # nothing measured yet: no reason for more or fewer, if there is work
        needed = float(max(state.target, 1)) if works else 0.0
    least = max(limits.min_replicas, 1 if works else 0)
    grown = _bounded(needed, least, limits)
    shrunk = _bounded(needed / (1 - HYSTERESIS), least, limits)
    recent = _remembered(state, shrunk, limits.downscale_delay_s, now_s)
    state = replace(state, needed=needed, overflow_per_s=passed, recent=recent)
    bounded = min(max(state.target, limits.min_replicas), limits.max_replicas)
    if bounded != state.target:
        return _to(state, bounded, Reason.BOUNDS, now_s)
    if grown > state.target:
        since_s = now_s if state.above_since_s is None else state.above_since_s
        at_once = waits and not state.target
        if not at_once and now_s - since_s < limits.upscale_delay_s:
            return replace(state, above_since_s=since_s)
        return _to(state, grown, _reason(load, limits, state), now_s)
    state = replace(state, above_since_s=None)
    highest = state.recent[0][0]
    if highest >= state.target:
        return state
    if not highest and state.target > 1:  # Serve goes to 0 by way of 1
        highest = 1
    return _to(state, highest, Reason.LESS_LOAD if highest else Reason.IDLE, now_s)


def _remembered(state: StageState, need: int, delay_s: float, now_s: float) -> Recent:
    """Return the recent needs with the present one, without those that it exceeds."""
    if not state.recent:
        need = max(need, state.target)
    kept = (one for one in state.recent if one[0] > need and now_s - one[1] < delay_s)
    return (*kept, (need, now_s))


def _to(state: StageState, target: int, reason: Reason, now_s: float) -> StageState:
    return replace(state, target=target, reason=reason, decided_s=now_s, above_since_s=None)


def _reason(load: StageLoad, limits: ScalingLimits, state: StageState) -> Reason:
    """Return what most of the work comes from."""
    if not state.target:
        return Reason.WAKE
    shares = {
        Reason.ARRIVALS: state.arriving_per_s or 0.0,
        Reason.QUEUE: _valid(load.queued) / limits.drain_s,
        Reason.OVERFLOW: state.overflow_per_s,
    }
    return max(shares, key=lambda reason: shares[reason])


def _bounded(needed: float, least: int, limits: ScalingLimits) -> int:
    most = limits.max_replicas
    return min(max(math.ceil(min(needed - TOLERANCE, most)), least), most)


def _average(before: float, value: float, elapsed_s: float, constant_s: float) -> float:
    return value + (before - value) * math.exp(-elapsed_s / constant_s)


def _valid(value: float) -> float:
    """Return the value, or 0 for one that no measurement can have."""
    return value if math.isfinite(value) and value > 0 else 0.0
