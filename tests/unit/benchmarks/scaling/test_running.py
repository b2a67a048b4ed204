"""An axis that fails says why, and the others go on."""

from __future__ import annotations

from benchmarks.scaling.running import run
from tests.unit.benchmarks.scaling.outcomes import axis, flat_series, quick


def test_the_axes_after_one_that_fails_are_measured() -> None:
    said: list[str] = []
    broken = axis("broken", error=ValueError("first line\nthe reason"))
    silent = axis("silent", error=RuntimeError())

    outcomes = run([broken, silent, axis("whole", flat_series())], quick(), said.append)

    assert [outcome.axis.name for outcome in outcomes] == ["broken", "silent", "whole"]
    assert [outcome.reason for outcome in outcomes] == [
        "ValueError: the reason",
        "RuntimeError: it gives no reason",
        None,
    ]
    assert [len(outcome.series) for outcome in outcomes] == [0, 0, 1]
    assert "  broken: not measured: ValueError: the reason" in said


def test_what_a_place_gave_is_told_at_once() -> None:
    said: list[str] = []
    run([axis("whole", flat_series())], quick(), said.append)

    assert said == ["whole: all about whole", "  2: 125 ms a thing"]
