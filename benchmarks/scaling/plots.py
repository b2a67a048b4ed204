"""A picture of each axis: measurements as points, the law as a line."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from benchmarks.scaling.axes import Axis
from benchmarks.scaling.running import Outcome
from benchmarks.scaling.series import Series
from benchmarks.scaling.wording import parameters, place

mpl.use("Agg")  # no display is needed, nor looked for

COLORS = ("tab:blue", "tab:orange")
STEPS = 400
"""Places at which a law is drawn: enough for a bend to look like one."""


def draw(outcomes: Sequence[Outcome], folder: Path) -> list[Path]:
    """Write a picture of each axis that was measured, and return where."""
    written = []
    for outcome in outcomes:
        if outcome.series:
            figure = Figure(figsize=(8, 5.5), layout="constrained")
            picture(figure.add_subplot(), outcome)
            written.append(folder / f"scaling-{outcome.axis.name}.png")
            figure.savefig(written[-1], dpi=120)
    return written


def picture(axes: Axes, outcome: Outcome) -> None:
    """Draw every series of an axis, and the spread of its rounds."""
    for series, color in zip(outcome.series, cycle(COLORS), strict=False):
        _measured(axes, series, color)
        _law(axes, series, color, doublings=outcome.axis.doublings)
    if outcome.axis.doublings:
        _doublings(axes, outcome.series)
    else:
        axes.set_ylim(bottom=0)
        if all(point.x == int(point.x) for series in outcome.series for point in series.points):
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    _label(axes, outcome.axis)


def _measured(axes: Axes, series: Series, color: str) -> None:
    places = [point.x for point in series.points]
    middle = [point.measured for point in series.points]
    below = [point.measured - min(point.rounds) for point in series.points]
    above = [max(point.rounds) - point.measured for point in series.points]
    axes.plot(places, middle, "o", color=color, label=f"{series.name} measured".strip())
    axes.errorbar(places, middle, yerr=[below, above], fmt="none", capsize=4, color=color)


def _law(axes: Axes, series: Series, color: str, *, doublings: bool) -> None:
    first, last = series.points[0].x, series.points[-1].x
    spaced = np.geomspace if doublings else np.linspace
    places = [float(x) for x in spaced(first, last, STEPS)]
    axes.plot(
        places,
        [series.law.at(x) for x in places],
        linestyle="--",
        color=color,
        label=f"{series.law.formula}\n{parameters(series.law)}",
    )


def _doublings(axes: Axes, shown: Sequence[Series]) -> None:
    places = sorted({point.x for series in shown for point in series.points})
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks(places, [place(x) for x in places])
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter(lambda value, _: place(value))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_minor_locator(NullLocator())


def _label(axes: Axes, axis: Axis) -> None:
    axes.set_title(axis.title)
    axes.set_xlabel(axis.across)
    axes.set_ylabel(axis.up)
    axes.grid(visible=True, alpha=0.3)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.13), frameon=False)
