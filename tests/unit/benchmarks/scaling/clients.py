"""A load generator that sends nothing: it records its loads, and gives set answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, cast

from benchmarks.bench.figures import Figures
from benchmarks.bench.lines import LineProcess
from benchmarks.scaling.asking import Asker

POOL = [f"text {number}" for number in range(20)]


class FakeClient:
    """Says of every load that so many requests of it were sent."""

    def __init__(self, *, sent: int = 6, statuses: dict[str, int] | None = None) -> None:
        self.loads: list[Mapping[str, Any]] = []
        self._sent = sent
        self._statuses = {"200": sent} if statuses is None else statuses

    def ask(self, question: Mapping[str, Any], *, timeout_s: float) -> dict[str, Any]:
        """Note the load; its rate is ten for each client."""
        assert timeout_s > question["seconds"]
        self.loads.append(question)
        figures = Figures(10.0 * question["clients"], statuses=self._statuses)
        return {"figures": asdict(figures), "sent": self._sent}


def asker_of(client: FakeClient) -> Asker:
    """Return an asker that sends through this client."""
    return Asker(cast("LineProcess", client), POOL, seed=0)
