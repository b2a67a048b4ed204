"""Figures have three digits that count, and a law says its parameters and where it is missed."""

from __future__ import annotations

import math

import pytest

from benchmarks.scaling.laws import Law, Parameter
from benchmarks.scaling.wording import parameters, percent, place, rounded, verdict
from tests.unit.benchmarks.scaling.outcomes import flat_series


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.0, "0"),
        (0.04123, "0.0412"),
        (1.0, "1.00"),
        (56.34, "56.3"),
        (583.4, "583"),
        (12345.6, "12,346"),
        (0.0000012, "1.20e-06"),
        (-2.5, "-2.50"),
        (math.inf, "inf"),
    ],
)
def test_a_figure_has_three_digits_that_count(value: float, shown: str) -> None:
    assert rounded(value) == shown


@pytest.mark.parametrize(("x", "shown"), [(0.95, "0.95"), (8.0, "8"), (320_000, "320,000")])
def test_a_place_is_shown_as_it_was_chosen(x: float, shown: str) -> None:
    assert place(x) == shown


def test_percent_has_a_sign() -> None:
    assert (percent(0.123), percent(-0.05)) == ("+12.3 %", "-5.0 %")


def test_a_parameter_without_a_unit_ends_with_its_value() -> None:
    law = Law("y", (Parameter("s", 0.25, ""), Parameter("R", 6.0, "ms")), lambda x: x)

    assert parameters(law) == "s = 0.250, R = 6.00 ms"


def test_a_law_is_named_with_where_it_is_missed_by_most() -> None:
    assert verdict(flat_series("one")) == "one: y = k; k = 100 ms; largest deviation +25.0 % at 2"
    assert verdict(flat_series()).startswith("y = k;")
