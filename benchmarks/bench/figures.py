"""What one measurement shows: a rate, latencies, statuses. Pure, and serialisable as JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from benchmarks.bench.loads import Window
from benchmarks.bench.stages import breakdown, mean


@dataclass(frozen=True, slots=True)
class Figures:
    """One measurement: texts (or requests without any) a second, and further figures.

    Latencies are those of the requests that were answered with 200, and in milliseconds.
    """

    per_s: float
    p50_ms: float | None = None
    p95_ms: float | None = None
    p99_ms: float | None = None
    statuses: dict[str, int] = field(default_factory=dict)
    stages_ms: dict[str, float] | None = None
    client_cpu: float | None = None
    """The share of one core that the load generator took."""

    client_late_p99_ms: float | None = None
    """How late requests were sent: no small part of the latency where the machine is too busy."""

    offered_per_s: float | None = None
    outside_ms: float | None = None
    """The processor time of the service in ms a text, except for the computation of the model."""

    @property
    def errors(self) -> int:
        """Return how many requests were not answered with 200."""
        return sum(count for status, count in self.statuses.items() if status != "200")


def percentile(values: Sequence[float], percent: float) -> float | None:
    """Return the value below which this many percent lie, between the nearest two; None of none."""
    if not values:
        return None
    ordered = sorted(values)
    place = (len(ordered) - 1) * percent / 100
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def figures_of(
    window: Window, *, texts_a_request: int, client_cpu: float, offered_per_s: float | None = None
) -> Figures:
    """Return the figures of a window."""
    good = [answer for answer in window.answers if answer.status == 200]
    latencies = [(answer.done - answer.due) * 1000 for answer in good]
    statuses = Counter(str(answer.status) for answer in window.answers)
    # A client that waits sends when it likes; what was due once may have been refused since.
    late = [(answer.sent - answer.due) * 1000 for answer in window.answers if offered_per_s]
    parts = (breakdown(one.headers, ms) for one, ms in zip(good, latencies, strict=True))
    return Figures(
        per_s=len(good) * texts_a_request / window.seconds if window.seconds > 0 else 0.0,
        p50_ms=percentile(latencies, 50),
        p95_ms=percentile(latencies, 95),
        p99_ms=percentile(latencies, 99),
        statuses=dict(sorted(statuses.items())),
        stages_ms=mean(parts),
        client_cpu=client_cpu,
        client_late_p99_ms=percentile(late, 99),
        offered_per_s=offered_per_s,
    )
