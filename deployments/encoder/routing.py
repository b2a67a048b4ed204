"""Which pool of encoders gets the next work: the one with the earliest predicted completion.

The prediction divides the tokens that wait or run in a pool by the pool's rate. Replicas report
both in every answer; a caller adds its own work since then. No function here reads a clock.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from embedder.core.types import ReplicaLoad

FRESH_S = 0.1
"""Seconds for which reported tokens of other callers count in full. Later they count less, by the
rate of the pool: otherwise a pool that was busy once would never be tried again."""

MIN_GAIN = 0.1
"""Least weight of a new report in the average of a pool, which has one report for many replicas."""

PAUSE_S = 1.0
"""Seconds for which a pool that failed gets work only if all others failed too."""


@dataclass(frozen=True, slots=True)
class PoolState:
    """One caller's knowledge of a pool.

    ``replicas`` run now. ``backlog_tokens`` wait or run before new work. ``tokens_per_s`` is the
    rate of all replicas together, 0.0 while unknown. ``overdue_s`` is the delay of its answers
    beyond their prediction. ``paused`` tells that it failed a moment ago.
    """

    replicas: int
    backlog_tokens: float
    tokens_per_s: float
    overdue_s: float = 0.0
    paused: bool = False

    def completion_s(self, tokens: float) -> float:
        """Return the predicted seconds until new work of so many tokens is computed.

        An idle pool of unknown rate counts as 0, so that its rate becomes known; a busy one as
        infinity.
        """
        if self.tokens_per_s > 0:
            return self.overdue_s + (self.backlog_tokens + tokens) / self.tokens_per_s
        return float("inf") if self.backlog_tokens > 0 else 0.0


def earliest(pools: Sequence[PoolState], tokens: float) -> int | None:
    """Return the position of the pool that should get the work; None if no pool has a replica.

    Pools whose prediction is infinite are compared by their tokens per replica. The first pool of
    equal ones is chosen.
    """
    running = [at for at, pool in enumerate(pools) if pool.replicas > 0]

    def order(at: int) -> tuple[bool, float, float]:
        pool = pools[at]
        return pool.paused, pool.completion_s(tokens), pool.backlog_tokens / pool.replicas

    return min(running, key=order, default=None)


@dataclass(eq=False, slots=True)
class PoolWork:
    """Work that a caller gave to a pool, and the time at which its result is expected."""

    tokens: int
    expected_s: float


class PoolTracker:
    """Follows one pool by the reports that one caller receives; all times come from one clock.

    Work is added when it is given to the pool. It may wait in the caller, and then goes to a
    replica in one or more calls. ``added_tokens`` counts all work that was ever added, and
    ``failures`` the calls that failed. ``replicas`` is the number of running replicas; the caller
    sets it.
    """

    def __init__(self, replicas: int = 0) -> None:
        self.replicas = replicas
        self.added_tokens = 0
        self.failures = 0
        self._work: dict[PoolWork, None] = {}
        self._work_tokens = 0
        self._call_tokens = 0
        self._others_tokens = 0.0  # per replica
        self._tokens_per_s = 0.0  # of one replica
        self._reported_s: float | None = None
        self._answered_s = float("-inf")
        self._paused_until_s = float("-inf")

    @property
    def waiting_tokens(self) -> int:
        """Return the tokens of work that is in no call."""
        return max(0, self._work_tokens - self._call_tokens)

    def state(self, now: float) -> PoolState:
        """Return the present knowledge of the pool."""
        return PoolState(
            replicas=self.replicas,
            backlog_tokens=self._work_tokens + self.replicas * self._others(now),
            tokens_per_s=self.replicas * self._tokens_per_s,
            overdue_s=self._overdue_s(now),
            paused=self.is_paused(now),
        )

    def is_paused(self, now: float) -> bool:
        """Return whether a call failed a moment ago, and none was answered since."""
        return now < self._paused_until_s

    def add(self, tokens: int, now: float) -> PoolWork:
        """Count work as waiting or running in this pool, until `remove`."""
        state = self.state(now)
        expected_s = now + (state.completion_s(tokens) if state.tokens_per_s > 0 else 0.0)
        work = PoolWork(tokens, expected_s)
        self._work[work] = None
        self._work_tokens += tokens
        self.added_tokens += tokens
        return work

    def remove(self, work: PoolWork) -> None:
        """Forget work that has ended, or whose result is not needed any more."""
        del self._work[work]
        self._work_tokens -= work.tokens

    def called(self, tokens: int) -> None:
        """Count the tokens of a call to a replica, until `answered` or `failed`."""
        self._call_tokens += tokens

    def answered(self, tokens: int, load: ReplicaLoad | None, now: float) -> None:
        """Learn from the answer of a call."""
        self._call_tokens -= tokens
        self._answered_s = now
        self._paused_until_s = float("-inf")
        if load is None:
            return
        replicas = max(self.replicas, 1)
        others = max(0.0, load.queued_tokens - self._call_tokens / replicas)
        gain = 1.0 if self._reported_s is None else max(1 / replicas, MIN_GAIN)
        known = self._others(now)
        self._others_tokens = known + gain * (others - known)
        if load.tokens_per_s > 0:
            rate_gain = gain if self._tokens_per_s > 0 else 1.0
            self._tokens_per_s += rate_gain * (load.tokens_per_s - self._tokens_per_s)
        self._reported_s = now

    def failed(self, tokens: int, now: float, *, pause: bool = True) -> None:
        """Count a call as ended without an answer; with ``pause``, prefer other pools for a while.

        A call that was cancelled says nothing about the pool.
        """
        self._call_tokens -= tokens
        if pause:
            self.failures += 1
            self._paused_until_s = now + PAUSE_S

    def _others(self, now: float) -> float:
        """Return the tokens of other callers in one replica, less what it has computed since.

        While the rate is unknown they count as none: they say nothing about when they will be done.
        """
        if self._reported_s is None or self._tokens_per_s == 0:
            return 0.0
        drained = self._tokens_per_s * max(0.0, now - self._reported_s - FRESH_S)
        return max(0.0, self._others_tokens - drained)

    def _overdue_s(self, now: float) -> float:
        """Return the delay of the oldest work, or the time since the last answer if shorter.

        An answer to any work counts, because later work may overtake the oldest.
        """
        oldest = next(iter(self._work), None)
        if oldest is None:
            return 0.0
        return max(0.0, now - max(oldest.expected_s, self._answered_s))
