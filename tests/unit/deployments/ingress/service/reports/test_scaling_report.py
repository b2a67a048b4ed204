"""What an ingress reports of its own load and of the stages that it calls."""

from __future__ import annotations

from typing import Any

import pytest

from deployments.ingress.service.reports.scaling_report import MIN_BUSY, ScalingReport, StageQueue
from tests.unit.deployments.ingress.fake_service import FakeService


class _Clocks:
    """The wall clock and the processor time of a thread."""

    def __init__(self) -> None:
        self.now_s = self.processor_s = 0.0

    def report(self) -> ScalingReport:
        return ScalingReport(lambda: self.now_s, lambda: self.processor_s)


def _take(report: ScalingReport, **changes: Any) -> dict[str, float]:
    counters: dict[str, Any] = {
        "arrived": 0,
        "answered": 0,
        "others": [StageQueue("Tokenizer", 0, 0), StageQueue("VectorIndex-0", 0, 0)],
        "encoders": [StageQueue("Encoder", 0, 0)],
        "refused_tokens": 0,
        "returned_tokens": 0,
    }
    return report.take(**{**counters, **changes})


def test_it_reports_what_waits_and_arrives_per_second() -> None:
    clocks = _Clocks()
    report = clocks.report()
    _take(report)
    clocks.now_s, clocks.processor_s = 2.0, 0.5
    taken = _take(
        report,
        arrived=100,
        answered=60,
        others=[StageQueue("Tokenizer", 70, 4000), StageQueue("VectorIndex-0", 3, 20)],
        encoders=[StageQueue("Encoder", 5, 300), StageQueue("Encoder-gpu", 0, 0)],
    )

    assert taken == {
        "done": 30.0,
        "busy": 0.25,
        "arriving:Ingress": 50.0,
        "arriving:Tokenizer": 2000.0,
        "arriving:VectorIndex-0": 10.0,
        "arriving:Encoder": 150.0,
        "arriving:Encoder-gpu": 0.0,
        "waiting:Tokenizer": 70.0,
        "waiting:VectorIndex-0": 3.0,
        "waiting:Encoder": 5.0,
        "waiting:Encoder-gpu": 0.0,
    }


@pytest.mark.parametrize(("busy", "known"), [(0.9 * MIN_BUSY, False), (1.1 * MIN_BUSY, True)])
def test_the_rate_of_an_idle_ingress_is_unknown(busy: float, known: bool) -> None:
    clocks = _Clocks()
    report = clocks.report()
    _take(report)
    clocks.now_s, clocks.processor_s = 1.0, busy

    assert (_take(report, answered=10)["done"] > 0) == known


def _seconds(report: ScalingReport, clocks: _Clocks, *seconds: tuple[int, float]) -> float:
    """Return the rate after seconds with so many answers and so much processor time each."""
    answered = 0
    taken = _take(report)
    for count, busy in seconds:
        answered += count
        clocks.now_s += 1.0
        clocks.processor_s += busy
        taken = _take(report, answered=answered)
    return taken["done"] / taken["busy"]


@pytest.mark.parametrize(
    ("seconds", "rate"),
    [
        ([(10, 0.5)], 20.0),
        # An idle ingress keeps its rate, also if it answers nothing.
        ([(10, 0.5), (0, 0.01)], 20.0),
        ([(10, 0.5), (1, 0.01)], 20.0),
        ([(10, 0.5), (0, 0.9)], 20.0),
        # After requests that take long, many short ones keep it idle: it can do ten times as many.
        ([(10, 0.5), (60, 0.03)], 60 / MIN_BUSY),
    ],
)
def test_the_rate_follows_what_the_requests_take(
    seconds: list[tuple[int, float]], rate: float
) -> None:
    clocks = _Clocks()

    assert _seconds(clocks.report(), clocks, *seconds) == pytest.approx(rate)


def test_the_queues_of_several_models_are_added() -> None:
    clocks = _Clocks()
    report = clocks.report()
    _take(report)
    clocks.now_s = 1.0
    taken = _take(report, encoders=[StageQueue("Encoder", 5, 300), StageQueue("Encoder", 2, 7)])

    assert (taken["waiting:Encoder"], taken["arriving:Encoder"]) == (7.0, 307.0)


@pytest.mark.parametrize(
    ("submitted", "arriving"), [((300, 100), (450.0, 150.0)), ((0, 0), (100.0, 100.0))]
)
def test_refused_tokens_count_as_arriving_where_the_others_went(
    submitted: tuple[int, int], arriving: tuple[float, float]
) -> None:
    clocks = _Clocks()
    report = clocks.report()
    pools = ("Encoder", "Encoder-gpu")
    _take(report, encoders=[StageQueue(name, 0, 0) for name in pools])
    clocks.now_s = 1.0
    taken = _take(
        report,
        encoders=[StageQueue(name, 0, count) for name, count in zip(pools, submitted, strict=True)],
        refused_tokens=200,
    )

    assert tuple(taken[f"arriving:{name}"] for name in pools) == arriving


def test_a_request_that_is_refused_here_and_returns_there_counts_once() -> None:
    clocks = _Clocks()
    here, there = clocks.report(), clocks.report()
    totals = []
    for second, (refused, returned) in enumerate([(0, 0), (500, 0), (500, 500)]):
        clocks.now_s = float(second)
        reports = [
            _take(here, refused_tokens=refused),
            _take(
                there,
                encoders=[StageQueue("Encoder", 0, returned)],
                returned_tokens=returned,
            ),
        ]
        totals.append(sum(report["arriving:Encoder"] for report in reports))

    assert totals == [0.0, 500.0, 0.0]


async def test_a_service_reports_its_requests_and_tokens() -> None:
    service = FakeService(tokenizer={"placement": "remote"}, encoder={"placement": "remote"})
    await service.models.get()
    before = service.scaling_report()
    await service.post_texts("abc", "defgh")
    after = service.scaling_report()

    assert set(before) >= {"done", "arriving:Ingress", "waiting:Encoder", "waiting:Tokenizer"}
    assert after["arriving:Ingress"] > 0
    assert after["arriving:Tokenizer"] > 0
    assert after["arriving:Encoder"] > 0
