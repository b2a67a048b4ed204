"""The targets of this project, and whether they are reached. Pure functions of the results."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.bench.plan import BULK, CACHED, LIKE_CACHED, MIXED, SENTENCES, SINGLE
from benchmarks.bench.results import (
    EMBEDDER,
    INFINITY,
    PEER_SERVERS,
    SERVICE,
    ST,
    Results,
    median,
)

Measured = Callable[[Results], float | None]


@dataclass(frozen=True, slots=True)
class Target:
    """A bound on a figure of one row; ``at_most``: less is better."""

    contender: str
    measurement: str
    unit: str
    bound: float
    value: Measured
    at_most: bool = False
    peer: Callable[[Results], str | None] | None = None
    """Finds the name of the peer that the figure is compared with."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """A target and its measurement; without one it is neither reached nor missed."""

    target: Target
    value: float | None
    peer: str | None = None

    @property
    def reached(self) -> bool | None:
        """Return whether the bound holds; None where nothing was measured."""
        if self.value is None:
            return None
        bound = self.target.bound
        return self.value <= bound if self.target.at_most else self.value >= bound

    @property
    def text(self) -> str:
        """Return the verdict for people."""
        sign = "≤" if self.target.at_most else "≥"
        unit = self.target.unit if self.peer is None else f"{self.target.unit} ({self.peer})"
        wanted = f"{sign} {self.target.bound:g} {unit}"
        if self.value is None:
            return f"{wanted}: not measured"
        return f"{wanted}: {self.value:.2f}{'' if self.reached else ' MISSED'}"


def ratio(of: tuple[str, str], to: tuple[str, str], figure: str = "per_s") -> Measured:
    """Return a function that finds the median ratio of two rows' figures over the rounds."""

    def find(results: Results) -> float | None:
        above, below = results.find(*of), results.find(*to)
        if above is None or below is None:
            return None
        pairs = zip(above.each(figure), below.each(figure), strict=False)
        return median([one / other for one, other in pairs if other > 0])

    return find


def share(contender: str, measurement: str) -> Measured:
    """Return a function that finds the median share of the machine's own matrix products."""

    def find(results: Results) -> float | None:
        row = results.find(contender, measurement)
        return None if row is None else median(row.share)

    return find


def verdicts(results: Results) -> list[Verdict]:
    """Judge every target."""
    return [
        Verdict(target, target.value(results), target.peer and target.peer(results))
        for target in TARGETS
    ]


def better_engine(measurement: str, figure: str = "per_s") -> Callable[[Results], str | None]:
    """Return a function that finds infinity's better engine by the median of a figure."""
    sign = 1.0 if figure == "per_s" else -1.0

    def find(results: Results) -> str | None:
        rows = filter(None, (results.find(name, measurement) for name in PEER_SERVERS))
        known = {row.contender: value for row in rows if (value := row.median(figure)) is not None}
        return max(known, key=lambda name: sign * known[name]) if known else None

    return find


def cpu_outside(contender: str, measurement: str) -> Measured:
    """Return a function that finds the median processor time of a text without the model's."""

    def find(results: Results) -> float | None:
        row = results.find(contender, measurement)
        return None if row is None else row.median("outside_ms")

    return find


def _beside_infinity(
    measurement: str, *, bound: float, unit: str = "× infinity", figure: str = "per_s"
) -> Target:
    peer = better_engine(measurement, figure)

    def find(results: Results) -> float | None:
        name = peer(results)
        if name is None:
            return None
        return ratio((SERVICE, measurement), (name, measurement), figure)(results)

    return Target(SERVICE, measurement, unit, bound, find, figure != "per_s", peer)


def _ratio(
    of: tuple[str, str], to: tuple[str, str], *, bound: float, unit: str, figure: str = "per_s"
) -> Target:
    return Target(*of, unit, bound, ratio(of, to, figure), at_most=figure != "per_s")


_ONE, _, _THIRTY_TWO, _ = (load.name for load in SINGLE)

TARGETS = (
    _ratio((EMBEDDER, SENTENCES), (ST, SENTENCES), bound=4.5, unit="× sentence-transformers"),
    Target(EMBEDDER, SENTENCES, "of the ceiling", 0.70, share(EMBEDDER, SENTENCES)),
    Target(EMBEDDER, MIXED, "of the ceiling", 0.60, share(EMBEDDER, MIXED)),
    _beside_infinity(_ONE, bound=0.35, unit="× infinity's p50", figure="p50_ms"),
    _beside_infinity(_THIRTY_TWO, bound=5.0),
    _beside_infinity(BULK.name, bound=5.0),
    _ratio((SERVICE, BULK.name), (EMBEDDER, SENTENCES), bound=0.85, unit="of the bare encoder"),
    Target(
        SERVICE,
        BULK.name,
        "ms a text outside the encoder",
        0.25,
        cpu_outside(SERVICE, BULK.name),
        at_most=True,
    ),
    _ratio((SERVICE, CACHED), (SERVICE, LIKE_CACHED), bound=0.85, unit="of the no-op like it"),
    _ratio(
        (SERVICE, CACHED),
        (INFINITY, _THIRTY_TWO),
        bound=12.0,
        unit=f"× infinity ({_THIRTY_TWO})",
    ),
)
