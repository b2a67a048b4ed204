"""The figures of a phase of an overload, and its requests."""

from __future__ import annotations

from itertools import islice

import pytest

from benchmarks.http_load import Answer
from benchmarks.overload_figures import figures_of
from benchmarks.overload_routes import ROUTES, requests


def test_figures_separate_answers_refusals_returns_and_failures() -> None:
    answers = [
        *(Answer(0.0, 0.0, number / 1000, 200) for number in range(1, 102)),
        *[Answer(0.0, 0.0, 0.002, 429)] * 2,
        Answer(0.0, 0.0, 0.051, 200, returned=True),
        Answer(0.0, 0.0, 0.002, 429, returned=True),
        Answer(0.0, 0.0, 9.0, 503),
        Answer(0.0, 0.0, 9.0, 0),
    ]
    figures = figures_of("x", (10.0, 20.0), answers, [0.001, 0.25], 0.5)

    assert figures.offered_per_s == 10.5
    assert figures.goodput_per_s == 5.1
    assert (figures.p50_ms, figures.p99_ms) == pytest.approx((51.0, 99.99))
    assert figures.refused == 2 / 105
    assert figures.returns_that_succeed == 0.5
    assert (figures.server_errors, figures.unanswered) == (1, 1)
    assert figures.worst_probe_ms == 250.0
    assert figures.statuses == {0: 1, 200: 102, 429: 3, 503: 1}


@pytest.mark.parametrize("route", ROUTES)
def test_many_requests_of_every_route_are_distinct(route: str) -> None:
    asked = list(islice(requests(route, seed=0, size=2), 64))

    assert len(set(asked)) == 64
