"""What became of the requests of an overload, and the figures of one phase."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

FAILED = 0
"""Stands for the status of a request that got no answer."""


@dataclass(slots=True)
class Outcome:
    """What became of one request, in seconds after it was due."""

    status: int = FAILED
    late_s: float = 0.0
    seconds: float = 0.0
    again: int | None = None
    """The status of its return, for one that was refused."""

    again_s: float = 0.0
    """What the return took, from when it was sent."""


@dataclass(frozen=True, slots=True)
class Figures:
    """The figures of one phase; ``p50_ms`` and ``p99_ms`` are of accepted requests and returns.

    A ``client_late_p99_ms`` that is no small part of ``p99_ms`` says that the machine was too busy.
    """

    name: str
    offered_per_s: float
    goodput_per_s: float
    p50_ms: float
    p99_ms: float
    refused: float
    refused_p99_ms: float
    returns_that_succeed: float | None
    server_errors: int
    unanswered: int
    worst_probe_ms: float
    client_late_p99_ms: float
    client_cpu: float
    statuses: dict[int, int] = field(default_factory=dict)


def figures_of(
    name: str,
    seconds: tuple[float, float],
    outcomes: Sequence[Outcome],
    probes: Sequence[float],
    cpu: float,
) -> Figures:
    """Return what one phase shows; ``seconds`` it took to send, and until the last answer."""
    sending_s, elapsed_s = seconds
    statuses = Counter(outcome.status for outcome in outcomes)
    accepted = [outcome.seconds for outcome in outcomes if outcome.status == 200]
    accepted += [outcome.again_s for outcome in outcomes if outcome.again == 200]
    refused = [outcome for outcome in outcomes if outcome.status == 429]
    returns = Counter(outcome.again for outcome in refused if outcome.again is not None)
    both = statuses + returns
    return Figures(
        name=name,
        offered_per_s=len(outcomes) / sending_s,
        goodput_per_s=both[200] / elapsed_s,
        p50_ms=_percentile_ms(accepted, 50),
        p99_ms=_percentile_ms(accepted, 99),
        refused=len(refused) / len(outcomes),
        refused_p99_ms=_percentile_ms([outcome.seconds for outcome in refused], 99),
        returns_that_succeed=returns[200] / returns.total() if returns else None,
        server_errors=sum(count for status, count in both.items() if status >= 500),
        unanswered=both[FAILED],
        worst_probe_ms=max(probes, default=float("nan")) * 1000,
        client_late_p99_ms=_percentile_ms([outcome.late_s for outcome in outcomes], 99),
        client_cpu=cpu,
        statuses=dict(sorted(both.items())),
    )


def _percentile_ms(seconds: Sequence[float], percent: float) -> float:
    return float(np.percentile(seconds, percent)) * 1000 if seconds else float("nan")
