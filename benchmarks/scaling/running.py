"""Axes are measured one after the other; one that fails says why, and the others go on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.scaling.axes import Axis
from benchmarks.scaling.options import Options
from benchmarks.scaling.series import Series
from benchmarks.scaling.wording import rounded


@dataclass(frozen=True, slots=True)
class Outcome:
    """An axis with its series, or with the reason why there are none."""

    axis: Axis
    series: tuple[Series, ...] = ()
    reason: str | None = None


def run(axes: Sequence[Axis], options: Options, say: Callable[[str], None]) -> list[Outcome]:
    """Measure the axes; ``say`` gets lines about the progress."""
    outcomes = []
    for axis in axes:
        say(f"{axis.name}: {axis.title}")
        outcomes.append(_measured(axis, options, say))
    return outcomes


def _measured(axis: Axis, options: Options, say: Callable[[str], None]) -> Outcome:
    def report(place: str, value: float) -> None:
        say(f"  {place}: {rounded(value)} {axis.up}")

    try:
        return Outcome(axis, tuple(axis.measure(options, report)))
    except Exception as error:  # noqa: BLE001 - the other axes can be measured
        lines = str(error).strip().splitlines()
        reason = f"{type(error).__name__}: {lines[-1] if lines else 'it gives no reason'}"
        say(f"  {axis.name}: not measured: {reason}")
        return Outcome(axis, reason=reason)
