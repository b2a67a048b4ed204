"""The constants are found again from figures that were computed with them."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pytest

from benchmarks.simulation.calibration import constants, nearest
from benchmarks.simulation.costs import Calibration, DeviceCosts, IngressCosts
from benchmarks.simulation.measuring import Measured

INGRESS, ENCODER = IngressCosts(0.001, 0.002, hop_s=0.0015), DeviceCosts(8000.0, batch_s=0.003)


def measured(sent: int, batches: int, *, saturated: bool) -> Measured:
    tokens = 25 * sent
    busy_s = batches * ENCODER.batch_s + tokens / ENCODER.tokens_per_s
    pause_s = 2 * INGRESS.hop_s + INGRESS.call_s + sent / batches * INGRESS.request_s / 2
    return Measured(
        sent=sent,
        seconds=busy_s + batches * pause_s if saturated else 60.0,
        answers=[],
        batches=batches,
        tokens=tokens,
        busy_s=busy_s,
        ingress_cpu_s=sent * INGRESS.request_s + batches * INGRESS.call_s,
        budget_tokens=2048,
    )


def test_two_loads_give_all_constants() -> None:
    ingress, encoder = constants(
        measured(1200, 1180, saturated=False), measured(12_000, 400, saturated=True)
    )

    assert asdict(ingress) == pytest.approx(asdict(INGRESS))
    assert asdict(encoder) == pytest.approx(asdict(ENCODER))


def test_the_nearest_value_is_the_least_that_reaches_the_figure() -> None:
    values = (0.0, 0.1, 0.2, 0.3)
    assert nearest(lambda value: 10 + 100 * value, 29.0, values) == 0.2
    assert nearest(lambda value: 10 + 100 * value, 5.0, values) == 0.0
    assert nearest(lambda value: 10.0, 99.0, values) == 0.3


def test_a_calibration_is_read_as_it_was_written(tmp_path: Path) -> None:
    calibration = Calibration(INGRESS, ENCODER, (10, 20), 4096)
    calibration.write(tmp_path / "results" / "costs.json")

    assert Calibration.read(tmp_path / "results" / "costs.json") == calibration
