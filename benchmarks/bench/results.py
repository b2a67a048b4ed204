"""The rows of the results: a contender, a measurement, and the figures of its rounds."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from benchmarks.bench.figures import Figures

ST = "sentence-transformers"
ONNX = "sentence-transformers-onnx"
INFINITY = "infinity"
INFINITY_ONNX = "infinity-onnx"
EMBEDDER = "embedder"
SERVICE = "service"

CONTENDERS = {
    ST: "sentence-transformers, torch, float32, in process",
    ONNX: "sentence-transformers, ONNX Runtime, float32, in process",
    EMBEDDER: "this project's encoder in process, no cache",
    INFINITY: "infinity over HTTP, its torch engine",
    INFINITY_ONNX: "infinity over HTTP, its optimum engine (ONNX Runtime)",
    SERVICE: "this project's whole graph over HTTP",
}

PEER_SERVERS = (INFINITY, INFINITY_ONNX)
SERVERS = (SERVICE, *PEER_SERVERS)


@dataclass(slots=True)
class Row:
    """One measurement of one contender: its rounds, or the reason why there are none.

    ``share`` is that of the machine's own matrix products, and ``of_bare`` that of the bare
    encoder's rate, both within each round.
    """

    contender: str
    measurement: str
    rounds: list[Figures] = field(default_factory=list)
    share: list[float] = field(default_factory=list)
    of_bare: list[float] = field(default_factory=list)
    reason: str | None = None

    def each(self, name: str) -> list[float]:
        """Return one figure of every round that has it."""
        values = (getattr(figures, name) for figures in self.rounds)
        return [float(value) for value in values if value is not None]

    def median(self, name: str) -> float | None:
        """Return the median of one figure over the rounds; None where no round has it."""
        return median(self.each(name))

    @property
    def errors(self) -> dict[str, int]:
        """Return how many requests of all rounds ended with each status that is not 200."""
        counted: dict[str, int] = {}
        for figures in self.rounds:
            for status, count in figures.statuses.items():
                if status != "200":
                    counted[status] = counted.get(status, 0) + count
        return counted


@dataclass(frozen=True, slots=True)
class Cosine:
    """How near a contender's vectors are to those in float32 of sentence-transformers."""

    least: float
    mean: float


class Results:
    """Rows by measurement and contender, in the order in which they were first measured."""

    def __init__(self) -> None:
        self._rows: dict[tuple[str, str], Row] = {}
        self.cosines: dict[str, Cosine] = {}

    def row(self, contender: str, measurement: str) -> Row:
        """Return the row, which is empty where nothing has been measured."""
        place = (measurement, contender)
        return self._rows.setdefault(place, Row(contender, measurement))

    def find(self, contender: str, measurement: str) -> Row | None:
        """Return the row if it has rounds."""
        row = self._rows.get((measurement, contender))
        return row if row is not None and row.rounds else None

    def __iter__(self) -> Iterator[Row]:
        """Give the rows, those of one measurement beneath each other."""
        order = list(dict.fromkeys(measurement for measurement, _ in self._rows))
        return iter(sorted(self._rows.values(), key=lambda row: order.index(row.measurement)))


def median(values: Sequence[float]) -> float | None:
    """Return the median; None of nothing."""
    return statistics.median(values) if values else None
