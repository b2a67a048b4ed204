"""The simulated requests in arrays, and the groups of them that move through the service.

An event moves a group of requests, not one: that is what makes a million requests a second
possible. With groups of one request the simulation is exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from deployments.encoder.routing import PoolWork
from embedder.pipeline.admission_control import AdmittedTokens


class Outcome(IntEnum):
    """How a request ended."""

    OPEN = 0
    ANSWERED = 1
    REFUSED = 2


class Requests:
    """Requests in the order of their sending at each ingress.

    ``first_sent_s``, ``sent_s`` (of the last attempt) and ``ended_s`` are float64[n] in seconds,
    ``attempts`` int8[n], and ``outcome`` int8[n] holds values of `Outcome`.
    """

    def __init__(self, sent_s: NDArray[np.float64], tokens: NDArray[np.int64]) -> None:
        count = len(sent_s)
        self.first_sent_s = sent_s
        self.sent_s = sent_s.copy()
        self.ended_s = np.full(count, np.nan)
        self.outcome = np.zeros(count, np.int8)
        self.attempts = np.ones(count, np.int8)
        self._tokens_before = np.concatenate([[0], np.cumsum(tokens)])

    def __len__(self) -> int:
        return len(self.sent_s)

    def tokens(self, first: int, end: int) -> int:
        """Return the tokens of the requests from ``first`` to before ``end``."""
        return int(self._tokens_before[end] - self._tokens_before[first])


@dataclass(eq=False, slots=True)
class Group:
    """Requests ``first`` to before ``end`` that one ingress handles together.

    ``queue_s`` is how long they waited for their batch, ``inference_s`` how long that took.
    ``routed`` is their work in the pool that was chosen for them.
    """

    requests: Requests
    first: int
    end: int
    tokens: int
    key: bytes
    work: AdmittedTokens | None = None
    routed: PoolWork | None = None
    submitted_s: float = 0.0
    queue_s: float = 0.0
    inference_s: float = 0.0

    def __len__(self) -> int:
        return self.end - self.first

    def finish(self, outcome: Outcome, now: float) -> None:
        """Record how these requests ended.

        Raises:
            RuntimeError: one of them has ended before.
        """
        own = slice(self.first, self.end)
        if self.requests.outcome[own].any():
            raise RuntimeError(f"a request ended twice, at {now} s")
        self.requests.outcome[own] = outcome
        self.requests.ended_s[own] = now

    def resend(self, now: float) -> None:
        """Record that the clients send these requests again."""
        own = slice(self.first, self.end)
        self.requests.sent_s[own] = now
        self.requests.attempts[own] += 1
