"""Percentiles, rates and statuses of a window."""

from __future__ import annotations

import pytest

from benchmarks.bench.figures import figures_of, percentile
from benchmarks.bench.loads import Answer, Window


def _answer(seconds: float, status: int = 200, late: float = 0.0) -> Answer:
    return Answer(status, 10.0, 10.0 + late, 10.0 + seconds, {})


@pytest.mark.parametrize(
    ("percent", "expected"), [(0, 1.0), (50, 2.5), (75, 3.25), (99, 3.97), (100, 4.0)]
)
def test_a_percentile_lies_between_the_nearest_two(percent: float, expected: float) -> None:
    assert percentile([4.0, 1.0, 3.0, 2.0], percent) == pytest.approx(expected)


def test_no_values_have_no_percentile_and_one_value_is_all_of_them() -> None:
    assert percentile([], 50) is None
    assert percentile([7.0], 99) == 7.0


def test_latencies_and_rates_are_those_of_answers_and_the_others_are_counted_by_status() -> None:
    answers = [_answer(0.1), _answer(0.3), _answer(9.0, 429), _answer(9.0, 503), _answer(9.0, 0)]
    figures = figures_of(Window(answers, 4.0), texts_a_request=32, client_cpu=0.25)

    assert figures.per_s == 16.0
    assert figures.p50_ms == pytest.approx(200.0)
    assert figures.statuses == {"0": 1, "200": 2, "429": 1, "503": 1}
    assert figures.errors == 3
    assert figures.stages_ms is None


def test_the_lateness_of_the_client_is_a_figure_of_its_own() -> None:
    window = Window([_answer(0.5, late=0.2)], 1.0)
    figures = figures_of(window, texts_a_request=1, client_cpu=0.5, offered_per_s=1.0)

    assert figures.client_late_p99_ms == pytest.approx(200.0)
    assert figures.p99_ms == pytest.approx(500.0)


def test_clients_that_wait_are_never_late() -> None:
    window = Window([_answer(0.5, late=0.2)], 1.0)
    figures = figures_of(window, texts_a_request=1, client_cpu=0.5)

    assert figures.client_late_p99_ms is None
    assert figures.p99_ms == pytest.approx(500.0)


def test_a_window_of_no_time_has_no_rate() -> None:
    assert figures_of(Window([], 0.0), texts_a_request=1, client_cpu=0.0).per_s == 0.0
