"""Outcomes as a run would leave them, with figures that are easy to reckon with."""

from __future__ import annotations

from benchmarks.scaling.axes import Axis
from benchmarks.scaling.laws import Law, Parameter
from benchmarks.scaling.options import Options, parse
from benchmarks.scaling.rounds import Tell
from benchmarks.scaling.running import Outcome
from benchmarks.scaling.series import Series, series


def law(value: float) -> Law:
    """Return a law that predicts the same everywhere."""
    return Law("y = k", (Parameter("k", value, "ms"),), lambda x: value)


def flat_series(name: str = "") -> Series:
    """Return a series of three points, the middle of which is a quarter above its law."""
    places = [(1, [90.0, 100.0, 120.0]), (2, [125.0] * 3), (4, [100.0] * 3)]
    return series(name, places, lambda xs, ys: law(100.0))


def axis(name: str, *shown: Series, error: Exception | None = None, doublings: bool = True) -> Axis:
    """Return an axis that gives these series, or fails."""

    def measure(options: Options, tell: Tell) -> list[Series]:
        if error is not None:
            raise error
        tell("2", 125.0)
        return list(shown)

    return Axis(name, f"all about {name}", "things", "ms a thing", measure, doublings)


def measured(name: str = "first", *, doublings: bool = True) -> Outcome:
    """Return what an axis with two series gave."""
    shown = (flat_series("one"), flat_series("other"))
    return Outcome(axis(name, doublings=doublings), shown)


def failed() -> Outcome:
    """Return what an axis that failed gave."""
    return Outcome(axis("second"), reason="it broke")


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
