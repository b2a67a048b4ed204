"""The figures of a simulation: latencies, rates and refusals of its requests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.simulation.requests import Outcome, Requests


@dataclass(frozen=True, slots=True)
class Figures:
    """Figures of the requests first sent in a window.

    ``answered_per_s`` counts the answers given within the window. Latencies are those of the last
    attempt, from sending to the answer. ``refused`` is the share that was refused at least once,
    ``lost`` the share that gave up.
    """

    sent_per_s: float
    answered_per_s: float
    p50_ms: float
    p99_ms: float
    mean_ms: float
    refused: float
    lost: float


class Log:
    """All requests of a simulation in arrays of one entry each."""

    def __init__(self, requests: Sequence[Requests]) -> None:
        self.first_sent_s = _joined([some.first_sent_s for some in requests])
        self.sent_s = _joined([some.sent_s for some in requests])
        self.ended_s = _joined([some.ended_s for some in requests])
        self.outcome = np.concatenate([some.outcome for some in requests])
        self.attempts = np.concatenate([some.attempts for some in requests])

    def figures(self, since_s: float, until_s: float) -> Figures:
        """Return the figures of a window; without requests in it, rates are 0 and times NaN."""
        sent = (self.first_sent_s >= since_s) & (self.first_sent_s < until_s)
        answered = self.outcome == Outcome.ANSWERED
        ended = answered & (self.ended_s >= since_s) & (self.ended_s < until_s)
        seconds = (self.ended_s - self.sent_s)[sent & answered]
        count = int(sent.sum())
        p50, p99 = np.percentile(seconds, [50, 99]) if len(seconds) else (np.nan, np.nan)
        return Figures(
            sent_per_s=count / (until_s - since_s),
            answered_per_s=int(ended.sum()) / (until_s - since_s),
            p50_ms=float(p50) * 1000,
            p99_ms=float(p99) * 1000,
            mean_ms=float(seconds.mean()) * 1000 if len(seconds) else float("nan"),
            refused=float((self.attempts[sent] > 1).mean()) if count else 0.0,
            lost=float((self.outcome[sent] == Outcome.REFUSED).mean()) if count else 0.0,
        )


def _joined(arrays: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    return np.concatenate([np.empty(0), *arrays])
