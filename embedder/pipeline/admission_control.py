"""Admission control of one ingress: the tokens that are queued or computed, and the limit on them.

Work is admitted before it costs anything and released when it ends, however it ends. Interactive
work is refused when it would wait too long; any work is refused when too many tokens are queued.
Time comes from the given clock. Several ingresses admit by their measured shares of the devices,
and exchange their reservations.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated

from pydantic import PlainSerializer

from embedder.core.errors import Overloaded
from embedder.core.types import Priority, ReplicaLoad, Timings
from embedder.measurements.histogram import SECONDS, Histogram
from embedder.pipeline.admission_policy import AdmissionPolicy
from embedder.pipeline.reservations import ReservationChanges
from embedder.pipeline.throughput import TokenRate
from embedder.settings.model import LimitSettings

MANY_INPUTS = 32
"""A request of this many inputs may wait ``max_wait_many_s``: programs send it, not users."""


def _by_name(tokens: Mapping[Priority, int]) -> dict[str, int]:
    return {priority.name.lower(): count for priority, count in tokens.items()}


@dataclass(frozen=True, slots=True)
class AdmissionStats:
    """The statistics of admission control.

    ``queued_tokens`` of each priority are queued or computed. ``tokens_per_s`` is None until it has
    been measured. ``predicted_wait_s`` is the wait of an interactive request that would come now.
    ``returned`` counts the requests among ``admitted`` that had been refused before.
    ``reserved_tokens`` are for refused requests that may still return, to any ingress.
    """

    queued_tokens: Annotated[Mapping[Priority, int], PlainSerializer(_by_name)]
    tokens_per_s: float | None
    predicted_wait_s: float
    admitted: int
    refused: int
    returned: int
    reserved_tokens: int


class AdmittedTokens:
    """The tokens of one computation that are queued or computed."""

    def __init__(
        self, control: AdmissionControl, tokens: int, priority: Priority, wait_s: float | None
    ) -> None:
        self.priority = priority
        self.tokens = tokens
        self._predicted_wait_s = wait_s
        self._control = control
        self._ended = False
        control._add(priority, tokens)

    def resize(self, tokens: int) -> None:
        """Correct the number of tokens that are still to be computed."""
        if not self._ended:
            self._control._add(self.priority, tokens - self.tokens)
            self.tokens = tokens

    def computed(self, tokens: int, times: Timings) -> None:
        """Subtract tokens that have been computed, and record the time that took."""
        if self._predicted_wait_s is not None:
            self._control._record_wait(times.queue_s - self._predicted_wait_s)
            self._predicted_wait_s = None
        if not self._ended:
            self._control._rate.computed(tokens, times, self._control._clock())
            self.resize(max(0, self.tokens - tokens))

    def end(self, _: object = None) -> None:
        """Release the remaining tokens; further calls do nothing. A task may call it when done."""
        if self.tokens:
            self.resize(0)
        self._ended = True


class AdmissionControl:
    """The work of one process, for all its models; ``limits`` of None admits everything.

    ``refused_tokens`` counts the tokens of refused requests, and ``returned_tokens`` those of
    admitted requests that had been refused before. ``refusals`` counts requests by the reason, and
    ``wait_errors`` has the seconds by which waits were longer or shorter than predicted. Use it
    from one thread.
    """

    def __init__(
        self, limits: LimitSettings | None = None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._max_queued = math.inf if limits is None else limits.max_queued_tokens
        self._max_wait_many_s = math.inf if limits is None else limits.max_wait_many_s
        self._clock = clock
        self._queued = [0] * len(Priority)
        self._rate = TokenRate()
        max_wait_s = math.inf if limits is None else limits.max_wait_s
        self._policy = AdmissionPolicy(self._rate, max_wait_s)
        self._admitted = self._returned = 0
        self.refusals = {"wait": 0, "queue": 0}
        self.wait_errors = {"longer": Histogram(SECONDS), "shorter": Histogram(SECONDS)}
        self.refused_tokens = self.returned_tokens = 0

    @property
    def stats(self) -> AdmissionStats:
        """Return the statistics for operators."""
        now = self._clock()
        self._rate.catch_up(now)
        return AdmissionStats(
            queued_tokens=dict(zip(Priority, self._queued, strict=True)),
            tokens_per_s=self._rate.tokens_per_s,
            predicted_wait_s=self._policy.wait_s(self._queued[Priority.INTERACTIVE], now),
            admitted=self._admitted,
            refused=sum(self.refusals.values()),
            returned=self._returned,
            reserved_tokens=round(self._policy.reservations.units(now)),
        )

    def share(self, ingresses: int, notify: Callable[[], None]) -> None:
        """Share the devices with other ingresses; ``ingresses`` includes this one.

        If there are others, ``notify`` is called when the reservations have changes for them.
        """
        self._rate.ingresses = self._policy.ingresses = ingresses
        self._policy.reservations.share(notify if ingresses > 1 else None)

    def answered(self, load: ReplicaLoad) -> None:
        """Record the load that an encoder replica has reported."""
        self._rate.reported(load, self._clock())

    def take_changes(self) -> ReservationChanges:
        """Return the changes for the other ingresses since the last call."""
        return self._policy.reservations.take_changes(self._clock())

    def all_reservations(self) -> ReservationChanges:
        """Return all reservations, for an ingress that has just started."""
        return self._policy.reservations.all_as_changes(self._clock())

    def receive(self, changes: ReservationChanges) -> None:
        """Apply the changes of another ingress, so that its clients may return to this one."""
        self._policy.reservations.receive(changes, self._clock())

    def admit(self, keys: Sequence[bytes], tokens: int, priority: Priority) -> AdmittedTokens:
        """Admit a request of ``tokens`` tokens whose inputs have these fingerprints.

        Call `AdmittedTokens.end` on the result when the work ends, fails or is cancelled.

        Raises:
            Overloaded: too much is queued. Capacity is reserved for the same request at the time
                that the error states.
        """
        token = self.check(keys, tokens, priority)
        if token is not None:
            self._policy.reservations.claim(token)
            self._returned += 1
            self.returned_tokens += tokens
        self._admitted += 1
        wait_s = None
        if priority is Priority.INTERACTIVE:
            wait_s = self._policy.wait_s(self._queued[priority], self._clock())
        return AdmittedTokens(self, tokens, priority, wait_s)

    def check(self, keys: Sequence[bytes], tokens: int, priority: Priority) -> bytes | None:
        """Raise if `admit` would refuse this request now, so that no work is done for it.

        Return the token of the reservation of a request that returns.

        Raises:
            Overloaded: as `admit` does.
        """
        now = self._clock()
        self._rate.catch_up(now)
        ahead = sum(self._queued[: priority + 1])  # bulk work delays no other
        excess = max(0, ahead + tokens - self._max_queued) if ahead else 0
        try:
            if priority is Priority.INTERACTIVE:
                return self._policy.check(
                    tokens,
                    ahead,
                    partial(_retry_token, keys),
                    now,
                    excess=excess,
                    max_wait_s=self._max_wait_many_s if len(keys) >= MANY_INPUTS else None,
                )
            if excess:
                raise Overloaded(self._policy.seconds_until_done(excess))
        except Overloaded:
            self.refusals["queue" if excess else "wait"] += 1
            self.refused_tokens += tokens
            raise
        return None

    def _record_wait(self, error_s: float) -> None:
        """Record how much longer a computation waited than was predicted."""
        self.wait_errors["longer" if error_s > 0 else "shorter"].observe(abs(error_s))

    def _add(self, priority: Priority, tokens: int) -> None:
        """Change the number of queued tokens."""
        before = sum(self._queued)
        self._queued[priority] += tokens
        after = before + tokens
        if after and not before:
            self._rate.started(self._clock())
        elif before and not after:
            self._rate.paused(self._clock())


def _retry_token(keys: Sequence[bytes]) -> bytes:
    """Return the token that identifies a request when it returns."""
    return hashlib.blake2b(b"".join(keys), digest_size=16).digest()
