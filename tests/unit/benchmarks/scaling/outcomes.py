"""A law that is the same everywhere, the options of a run that takes no time, and its report."""

from __future__ import annotations

from benchmarks.scaling.laws import Law, Parameter
from benchmarks.scaling.options import Options, parse


def law(value: float) -> Law:
    """Return a law that predicts the same everywhere."""
    return Law("y = k", (Parameter("k", value, "ms"),), lambda x: value)


def quick() -> Options:
    """Return the options of a quick run with windows that take no time."""
    options = parse(["--quick"], ["first"])
    return Options(
        axes=options.axes,
        quick=True,
        rounds=2,
        seconds=0.5,
        in_process_s=0.0,
        warm_up_s=0.25,
        config=options.config,
        seed=0,
        results=options.results,
    )


def ignored(place: str, value: float) -> None:
    """Ignore the value of a place."""
