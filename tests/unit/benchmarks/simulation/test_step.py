"""How a stage reacted is read from its history; a load step scales the service out and back."""

from __future__ import annotations

from pathlib import Path

from benchmarks.simulation import step
from benchmarks.simulation.costs import Calibration, DeviceCosts
from benchmarks.simulation.plots import draw_step
from benchmarks.simulation.step import Step, reaction
from deployments.autoscaling.load import ScalingLimits
from tests.unit.benchmarks.simulation.services import FREE

HISTORY = [(0.0, 1, 1), (62.0, 1, 3), (64.0, 1, 5), (72.0, 3, 5), (74.0, 5, 5), (150.0, 1, 1)]


def test_a_reaction_counts_from_the_step() -> None:
    found = reaction("Encoder", HISTORY, needed=4, phase_s=60.0)

    assert found.decided_s == 4.0
    assert found.ready_s == 14.0
    assert found.overshoot == 1
    assert found.settled_s == 30.0


def test_a_rise_and_a_fall_are_one_turn() -> None:
    assert reaction("Encoder", HISTORY, needed=4, phase_s=60.0).turns == 1


def test_each_change_of_direction_is_a_turn() -> None:
    targets = [(float(at), 1, target) for at, target in enumerate([1, 3, 2, 4, 1])]
    assert reaction("Encoder", targets, needed=3, phase_s=1.0).turns == 3


def test_a_stage_that_never_decides_has_no_time() -> None:
    assert reaction("Encoder", [(0.0, 1, 1)], needed=2, phase_s=1.0).decided_s is None


def test_a_stage_that_has_enough_needs_no_time() -> None:
    assert reaction("Encoder", [(0.0, 2, 2)], needed=2, phase_s=1.0).ready_s == 0.0


def test_a_load_step_starts_replicas_and_stops_them_again(tmp_path: Path) -> None:
    limits = ScalingLimits(1, 8, downscale_delay_s=4.0)
    result = step.run(
        Step(
            Calibration(FREE, DeviceCosts(2_000.0, 0.0, start_s=2.0), (20,)),
            rate_per_s=50.0,
            factor=5.0,
            phase_s=15.0,
            limits=limits,
            others=limits,
            tokenizer=True,
        )
    )
    encoder = result.reactions[0]

    # 5,000 tokens/s, and those of returns, at 70 % of 2,000 tokens/s a replica.
    assert encoder.needed in (4, 5)
    assert encoder.decided_s is not None
    assert encoder.ready_s is not None
    assert encoder.ready_s >= encoder.decided_s + 2.0
    assert result.histories["Encoder"][-1][2] < encoder.needed
    assert [one.stage for one in result.reactions] == ["Encoder", "Ingress", "Tokenizer"]
    assert draw_step(result, tmp_path).stat().st_size > 0
