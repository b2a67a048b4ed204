"""Work that one pool cannot do becomes the work of another."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from deployments.autoscaling.policy import (
    START_S,
    Reason,
    ScalingLimits,
    StageLoad,
    StageState,
    decide,
)
from tests.unit.deployments.autoscaling.test_policy import LOADS

POOLS = {
    "small": ScalingLimits(1, 2, overflow=("large",), downscale_delay_s=30.0),
    "large": ScalingLimits(0, 3, overflow=("small",), downscale_delay_s=30.0),
}


def _run_pools(
    loads: Iterable[Mapping[str, StageLoad]], states: dict[str, StageState] | None = None
) -> list[dict[str, StageState]]:
    history = []
    states = states or {}
    for step, load in enumerate(loads):
        states = decide(load, POOLS, states, 1e9 + step)
        history.append(states)
    return history


def test_work_beyond_the_limit_of_a_pool_starts_another() -> None:
    within = {"small": StageLoad(2, 130.0, 0.0, 100.0), "large": StageLoad(0)}
    beyond = {"small": StageLoad(2, 400.0, 0.0, 100.0), "large": StageLoad(0)}
    history = _run_pools([within] * 20 + [beyond] * 5)

    # A short peak of the small pool starts no other one.
    assert {states["large"].target for states in history[:21]} == {0}
    assert history[-1]["small"].target == 2
    assert (history[-1]["large"].target, history[-1]["large"].reason) == (1, Reason.WAKE)


def test_a_pool_whose_rate_is_known_gets_as_many_replicas_as_the_overflow_needs() -> None:
    loads = {"small": StageLoad(2, 400.0, 0.0, 100.0), "large": StageLoad(1, 1.0, 0.0, 200.0)}
    large = _run_pools([loads] * 5, {"large": StageState(1)})[-1]["large"]

    # 400 less the 2 × 70 that the small pool does, at 140 for each large replica.
    assert (large.target, large.reason) == (2, Reason.OVERFLOW)


def test_a_pool_that_gets_no_replica_passes_its_work_on() -> None:
    limits = {name: replace(one, min_replicas=0) for name, one in POOLS.items()}
    loads = {"small": StageLoad(0), "large": StageLoad(0, queued=50.0)}
    states: dict[str, StageState] = {}
    history = []
    for second in range(int(START_S) + 4):
        states = decide(loads, limits, states, 1e9 + second)
        history.append({name: state.target for name, state in states.items()})

    assert history[0] == {"small": 0, "large": 1}
    assert {targets["small"] for targets in history[: int(START_S)]} == {0}
    assert history[-1] == {"small": 1, "large": 1}


@given(
    loads=st.lists(st.fixed_dictionaries({"small": LOADS, "large": LOADS}), max_size=30),
)
def test_overflow_never_leaves_the_bounds(loads: list[dict[str, StageLoad]]) -> None:
    for states in _run_pools(loads):
        for name, state in states.items():
            assert POOLS[name].min_replicas <= state.target <= POOLS[name].max_replicas
