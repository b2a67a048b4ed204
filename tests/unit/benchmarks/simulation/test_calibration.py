"""The constants are found again from figures that were computed with them."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.simulation.calibration import Calibration, constants, nearest
from benchmarks.simulation.costs import Costs, DeviceCosts, IngressCosts
from benchmarks.simulation.measuring import Measured

COSTS = Costs(IngressCosts(0.001, 0.002, hop_s=0.0015), DeviceCosts(8000.0, batch_s=0.003))


def measured(sent: int, batches: int, *, saturated: bool) -> Measured:
    tokens = 25 * sent
    busy_s = batches * COSTS.encoder.batch_s + tokens / COSTS.encoder.tokens_per_s
    ingress = COSTS.ingress
    pause_s = 2 * ingress.hop_s + ingress.call_s + sent / batches * ingress.request_s / 2
    return Measured(
        sent=sent,
        seconds=busy_s + batches * pause_s if saturated else 60.0,
        answers=[],
        batches=batches,
        tokens=tokens,
        busy_s=busy_s,
        ingress_cpu_s=sent * ingress.request_s + batches * ingress.call_s,
        budget_tokens=2048,
    )


def test_two_loads_give_all_constants() -> None:
    found = constants(measured(1200, 1180, saturated=False), measured(12_000, 400, saturated=True))

    assert found.encoder.batch_s == pytest.approx(COSTS.encoder.batch_s)
    assert found.encoder.tokens_per_s == pytest.approx(COSTS.encoder.tokens_per_s)
    assert found.ingress.request_s == pytest.approx(COSTS.ingress.request_s)
    assert found.ingress.call_s == pytest.approx(COSTS.ingress.call_s)
    assert found.ingress.hop_s == pytest.approx(COSTS.ingress.hop_s)


def test_the_nearest_value_is_the_least_that_reaches_the_figure() -> None:
    values = (0.0, 0.1, 0.2, 0.3)
    assert nearest(lambda value: 10 + 100 * value, 29.0, values) == 0.2
    assert nearest(lambda value: 10 + 100 * value, 5.0, values) == 0.0
    assert nearest(lambda value: 10.0, 99.0, values) == 0.3


def test_a_calibration_is_read_as_it_was_written(tmp_path: Path) -> None:
    calibration = Calibration(COSTS, (10, 20), 2048)
    calibration.write(tmp_path / "results" / "costs.json")

    assert Calibration.read(tmp_path / "results" / "costs.json") == calibration
