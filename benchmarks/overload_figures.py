"""The figures of one phase of an overload."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from benchmarks.http_load import FAILED, Answer


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
    answers: Sequence[Answer],
    probes: Sequence[float],
    cpu: float,
) -> Figures:
    """Return the figures of a phase; ``seconds`` it took to send, and until the last answer."""
    sending_s, elapsed_s = seconds
    first = [answer for answer in answers if not answer.returned]
    returns = Counter(answer.status for answer in answers if answer.returned)
    statuses = Counter(answer.status for answer in answers)
    accepted = [answer.seconds for answer in answers if answer.status == 200]
    refused = [answer.seconds for answer in first if answer.status == 429]
    return Figures(
        name=name,
        offered_per_s=len(first) / sending_s,
        goodput_per_s=statuses[200] / elapsed_s,
        p50_ms=_percentile_ms(accepted, 50),
        p99_ms=_percentile_ms(accepted, 99),
        refused=len(refused) / len(first),
        refused_p99_ms=_percentile_ms(refused, 99),
        returns_that_succeed=returns[200] / returns.total() if returns else None,
        server_errors=sum(count for status, count in statuses.items() if status >= 500),
        unanswered=statuses[FAILED],
        worst_probe_ms=max(probes, default=float("nan")) * 1000,
        client_late_p99_ms=_percentile_ms([answer.sent_s - answer.due_s for answer in first], 99),
        client_cpu=cpu,
        statuses=dict(sorted(statuses.items())),
    )


def _percentile_ms(seconds: Sequence[float], percent: float) -> float:
    return float(np.percentile(seconds, percent)) * 1000 if seconds else float("nan")
