"""Outcomes as tables for people, and as one JSON document. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.scaling.running import Outcome
from benchmarks.scaling.series import Point, Series
from benchmarks.scaling.wording import percent, place, rounded, verdict


def table(outcome: Outcome) -> str:
    """Lay one axis out for people: medians and spread of the rounds, the law and the deviation."""
    axis = outcome.axis
    lines = [f"{axis.name}: {axis.title}"]
    if outcome.reason is not None:
        return "\n".join([*lines, f"  not measured: {outcome.reason}"])
    lines.append(f"{axis.across:>34}{axis.up:>14}{'spread':>20}{'law':>12}{'deviation':>12}")
    for series in outcome.series:
        lines += [_row(series, point) for point in series.points]
    return "\n".join([*lines, *(f"  {verdict(series)}" for series in outcome.series)])


def document(outcomes: Sequence[Outcome], run: Mapping[str, Any]) -> dict[str, Any]:
    """Return everything for JSON; ``run`` has the machine and the options."""
    return {**run, "axes": [_axis(outcome) for outcome in outcomes]}


def _row(series: Series, point: Point) -> str:
    name = f"{series.name} {place(point.x)}".strip()
    least, most = rounded(min(point.rounds)), rounded(max(point.rounds))
    spread = f"{least}–{most}" if len(point.rounds) > 1 else ""
    return (
        f"{name:>34}{rounded(point.measured):>14}{spread:>20}"
        f"{rounded(point.predicted):>12}{percent(point.deviation):>12}"
    )


def _axis(outcome: Outcome) -> dict[str, Any]:
    return {
        "axis": outcome.axis.name,
        "x": outcome.axis.across,
        "unit": outcome.axis.up,
        "reason": outcome.reason,
        "series": [_series(series) for series in outcome.series],
    }


def _series(series: Series) -> dict[str, Any]:
    return {
        "name": series.name,
        "law": series.law.formula,
        "parameters": {
            one.name: {"value": one.value, "unit": one.unit} for one in series.law.parameters
        },
        "largest_deviation": series.farthest.deviation,
        "points": [
            {
                "x": point.x,
                "rounds": list(point.rounds),
                "measured": point.measured,
                "predicted": point.predicted,
                "deviation": point.deviation,
            }
            for point in series.points
        ],
    }
