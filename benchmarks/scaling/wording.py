"""How figures and laws are put in words, in tables and on plots alike. Pure."""

from __future__ import annotations

import math

from benchmarks.scaling.laws import Law
from benchmarks.scaling.series import Series


def rounded(value: float) -> str:
    """Return a figure with three digits that count, and all of those before the point."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    digits = 2 - math.floor(math.log10(abs(value)))
    if digits > 6:
        return f"{value:.2e}"
    return f"{value:,.{max(0, digits)}f}"


def percent(deviation: float) -> str:
    """Return a part as percent, with its sign."""
    return f"{100 * deviation:+.1f} %"


def parameters(law: Law) -> str:
    """Return the parameters of a law, each with its unit."""
    return ", ".join(
        f"{one.name} = {rounded(one.value)} {one.unit}".strip() for one in law.parameters
    )


def place(x: float) -> str:
    """Return an x as it was chosen."""
    return f"{x:,g}" if x < 1_000_000 else f"{x:,.0f}"


def verdict(series: Series) -> str:
    """Return the law of a series with its parameters, and where it is missed by most."""
    far = series.farthest
    name = f"{series.name}: " if series.name else ""
    return (
        f"{name}{series.law.formula}; {parameters(series.law)}; "
        f"largest deviation {percent(far.deviation)} at {place(far.x)}"
    )
