"""Targets are compared within each round, and judged by the median."""

from __future__ import annotations

import pytest

from benchmarks.bench.plan import BULK, CACHED, MIXED, SENTENCES, SINGLE
from benchmarks.bench.results import EMBEDDER, INFINITY, INFINITY_ONNX, SERVICE, ST, Results
from benchmarks.bench.targets import TARGETS, Target, Verdict, ratio, verdicts
from tests.unit.benchmarks.bench.rows import add, full


def test_a_ratio_is_the_median_of_the_ratios_of_each_round() -> None:
    results = Results()
    add(results, EMBEDDER, SENTENCES, 300.0, 800.0, 90.0)
    add(results, ST, SENTENCES, 100.0, 200.0, 100.0)

    assert ratio((EMBEDDER, SENTENCES), (ST, SENTENCES))(results) == 3.0


def test_there_is_no_ratio_to_a_row_without_measurements() -> None:
    results = Results()
    add(results, EMBEDDER, SENTENCES, 300.0)
    results.row(ST, SENTENCES).reason = "not installed"

    assert ratio((EMBEDDER, SENTENCES), (ST, SENTENCES))(results) is None


@pytest.mark.parametrize(
    ("value", "at_most", "reached", "text"),
    [
        (2.5, False, True, "≥ 2.5 × peer: 2.50"),
        (2.4, False, False, "≥ 2.5 × peer: 2.40 MISSED"),
        (2.5, True, True, "≤ 2.5 × peer: 2.50"),
        (2.6, True, False, "≤ 2.5 × peer: 2.60 MISSED"),
        (None, False, None, "≥ 2.5 × peer: not measured"),
    ],
)
def test_a_bound_is_reached_on_its_own_side(
    value: float | None, at_most: bool, reached: bool | None, text: str
) -> None:
    target = Target(EMBEDDER, SENTENCES, "× peer", 2.5, lambda results: value, at_most)
    verdict = Verdict(target, value)

    assert verdict.reached is reached
    assert verdict.text == text


def test_every_target_is_found_in_the_results_of_a_run() -> None:
    found = {
        (verdict.target.contender, verdict.target.measurement, verdict.target.bound): verdict.value
        for verdict in verdicts(full())
    }

    assert found == pytest.approx(
        {
            (EMBEDDER, SENTENCES, 4.5): 3.5,
            (EMBEDDER, SENTENCES, 0.7): 0.75,
            (EMBEDDER, MIXED, 0.6): 0.55,
            (SERVICE, SINGLE[0].name, 0.35): 0.4,
            (SERVICE, SINGLE[2].name, 5.0): 5.0,
            (SERVICE, BULK.name, 5.0): 5.25,
            (SERVICE, BULK.name, 0.25): 0.3,
            (SERVICE, BULK.name, 0.85): 0.9,
            (SERVICE, CACHED, 0.85): 0.875,
            (SERVICE, CACHED, 12.0): 14.0,
        }
    )


def test_targets_without_measurements_are_not_judged() -> None:
    assert [verdict.reached for verdict in verdicts(Results())] == [None] * len(TARGETS)


def test_only_the_latency_and_the_processor_time_have_upper_bounds() -> None:
    assert [target.unit for target in TARGETS if target.at_most] == [
        f"× {INFINITY}'s p50",
        "ms a text outside the encoder",
    ]


def test_the_service_is_compared_with_the_better_engine_of_infinity_which_is_named() -> None:
    results = full()
    add(results, INFINITY_ONNX, SINGLE[2].name, 500.0, 1000.0)
    (verdict,) = [one for one in verdicts(results) if one.target.measurement == SINGLE[2].name]

    assert verdict.value == 0.5
    assert verdict.text == "≥ 5 × infinity (infinity-onnx): 0.50 MISSED"
