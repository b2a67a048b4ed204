"""The figures of a contender and the table of all."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from embedder.index.contract.kinds import IndexKind


@dataclass(slots=True)
class Searches:
    """The searches of one contender with one filter: milliseconds of each query by rounds."""

    recall: float = 0.0
    rounds: list[list[float]] = field(default_factory=list)

    @property
    def medians(self) -> list[float]:
        """Return the median of each round."""
        return [statistics.median(taken) for taken in self.rounds]

    def percentile(self, share: float) -> float:
        """Return a percentile of all queries."""
        return float(np.percentile(np.concatenate(self.rounds), share))


@dataclass(slots=True)
class Figures:
    """What one contender did; ``searches`` has a key for each filter.

    ``loaded_per_s`` are points upserted into an empty collection, and ``upserted_per_s`` points
    upserted after ``build_s`` had built its index. None stands for a contender that keeps nothing.
    """

    name: str
    kind: IndexKind
    loaded_per_s: float | None = None
    build_s: float = 0.0
    upserted_per_s: float | None = None
    searches: dict[str, Searches] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """Return what is printed as JSON."""
        found = {
            name: {
                "recall": searches.recall,
                "p50_ms": searches.percentile(50),
                "p99_ms": searches.percentile(99),
                "medians_ms": searches.medians,
            }
            for name, searches in self.searches.items()
        }
        kept = {name: getattr(self, name) for name in ("loaded_per_s", "build_s", "upserted_per_s")}
        return {"name": self.name, "kind": self.kind.value, **kept, "searches": found}


def ratios(ours: Searches, base: Searches) -> tuple[float, float, float]:
    """Return the median, the least and the greatest ratio of the medians of the same rounds."""
    found = [mine / other for mine, other in zip(ours.medians, base.medians, strict=True)]
    return statistics.median(found), min(found), max(found)


def table(figures: Sequence[Figures]) -> str:
    """Lay the figures out for people; a ratio is to the first contender of the same kind."""
    lines = [
        f"{'':20}{'kind':6}{'loads/s':>9}{'build s':>9}{'upserts/s':>11}"
        f"  {'points':10}{'recall':>7}{'p50 ms':>9}{'p99 ms':>9}  ratio of p50, and its spread"
    ]
    for one in figures:
        base = next(other for other in figures if other.kind is one.kind)
        for number, (filtered, searches) in enumerate(one.searches.items()):
            name = f"{one.name:20}{one.kind.value:6}" if not number else " " * 26
            written = (
                f"{_rate(one.loaded_per_s):>9}{one.build_s:9.1f}{_rate(one.upserted_per_s):>11}"
            )
            middle, least, most = ratios(searches, base.searches[filtered])
            lines.append(
                f"{name}{written if not number else ' ' * 29}  {filtered:10}{searches.recall:7.3f}"
                f"{searches.percentile(50):9.2f}{searches.percentile(99):9.2f}"
                f"  {middle:.2f} ({least:.2f}–{most:.2f})"
            )
    return "\n".join(lines)


def _rate(value: float | None) -> str:
    return "–" if value is None else f"{value:,.0f}"
