"""What waits or is computed for one ingress, and whether more may come: admission by its wait.

Work enters before it costs anything and leaves when it has ended, however it ends. Interactive
work is refused when it would wait too long for others, and all work when too much is queued. The
rule is in `admission`. Policy with a clock that is given; knows nothing of event loops, models or
HTTP.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from embedder.core.errors import Overloaded
from embedder.core.types import Priority, Timings
from embedder.pipeline.admission_policy import AdmissionPolicy
from embedder.pipeline.throughput import TokenRate
from embedder.settings.model import LimitSettings

MANY_INPUTS = 32
"""A request of so many inputs may wait ``max_wait_many_s``: no user looks at a screen for it."""


@dataclass(frozen=True, slots=True)
class AdmissionStats:
    """What an operator sees of a backlog.

    ``queued_tokens`` wait or are computed. ``tokens_per_s`` is None until it has been measured.
    ``predicted_wait_s`` is that of interactive work which would come at once. ``returned`` counts
    those of ``admitted`` that had been told to come back. ``booked_tokens`` are awaited.
    """

    queued_tokens: Mapping[Priority, int]
    tokens_per_s: float | None
    predicted_wait_s: float
    admitted: int
    refused: int
    returned: int
    booked_tokens: int


class AdmittedTokens:
    """Tokens of one computation, as long as they wait or are computed."""

    def __init__(self, control: AdmissionControl, tokens: int, priority: Priority) -> None:
        self.priority = priority
        self.tokens = 0
        self._control = control
        self._ended = False
        self.resize(tokens)

    def resize(self, tokens: int) -> None:
        """Correct how many tokens are still to be computed."""
        if not self._ended:
            self._control._add(self, tokens - self.tokens)

    def computed(self, tokens: int, times: Timings) -> None:
        """Take off tokens that have been computed, and tell how long that took."""
        if not self._ended:
            self._control._computed(self, tokens, times)

    def end(self) -> None:
        """Take off whatever is left; further calls do nothing."""
        self.resize(0)
        self._ended = True


class AdmissionControl:
    """The work of one process, for all its models; ``limits`` of None admits everything.

    Use it from one thread.
    """

    def __init__(
        self, limits: LimitSettings | None = None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._max_queued = math.inf if limits is None else limits.max_queued_tokens
        self._max_wait_many_s = math.inf if limits is None else limits.max_wait_many_s
        self._clock = clock
        self._queued = dict.fromkeys(Priority, 0)
        self._rate = TokenRate()
        self._policy = AdmissionPolicy(
            self._rate, math.inf if limits is None else limits.max_wait_s
        )
        self._admitted = self._refused = self._returned = 0

    @property
    def stats(self) -> AdmissionStats:
        """Return what an operator sees."""
        now = self._clock()
        self._rate.catch_up(now)
        return AdmissionStats(
            queued_tokens=dict(self._queued),
            tokens_per_s=self._rate.tokens_per_s,
            predicted_wait_s=self._policy.wait_s(self._ahead(Priority.INTERACTIVE), now),
            admitted=self._admitted,
            refused=self._refused,
            returned=self._returned,
            booked_tokens=round(self._policy.reservations.units(now)),
        )

    def admit(self, keys: Sequence[bytes], tokens: int, priority: Priority) -> AdmittedTokens:
        """Admit work of so many tokens, the request for it having these fingerprints.

        Every work wants an `AdmittedTokens.end`.

        Raises:
            Overloaded: too much is queued; the same request will be expected when it says.
        """
        self._returned += self._admit(keys, tokens, priority, claims=True)
        self._admitted += 1
        return AdmittedTokens(self, tokens, priority)

    def check(self, keys: Sequence[bytes], tokens: int, priority: Priority) -> None:
        """Refuse work that `admit` would refuse now, before anything is done for it.

        Raises:
            Overloaded: as `admit`.
        """
        self._admit(keys, tokens, priority, claims=False)

    def _ahead(self, priority: Priority) -> int:
        """Return the tokens that such work waits behind: bulk work keeps no other out."""
        return sum(tokens for other, tokens in self._queued.items() if other <= priority)

    def _admit(
        self, keys: Sequence[bytes], tokens: int, priority: Priority, *, claims: bool
    ) -> bool:
        """Admit work, or only check it; return whether it came back. Count it if it is refused."""
        now = self._clock()
        self._rate.catch_up(now)
        ahead = self._ahead(priority)
        excess = max(0, ahead + tokens - self._max_queued) if ahead else 0
        try:
            if priority is Priority.INTERACTIVE:
                admit = self._policy.admit if claims else self._policy.check
                returned = admit(
                    tokens,
                    ahead,
                    partial(_retry_token, keys),
                    now,
                    excess=excess,
                    max_wait_s=self._max_wait_many_s if len(keys) >= MANY_INPUTS else None,
                )
                return bool(returned)
            if excess:
                raise Overloaded(self._policy.seconds_until_done(excess))
        except Overloaded:
            self._refused += 1
            raise
        return False

    def _computed(self, work: AdmittedTokens, tokens: int, times: Timings) -> None:
        self._rate.computed(tokens, times, self._clock())
        self._add(work, -min(tokens, work.tokens))

    def _add(self, work: AdmittedTokens, tokens: int) -> None:
        """Change how many tokens of a work are queued."""
        before = sum(self._queued.values())
        work.tokens += tokens
        self._queued[work.priority] += tokens
        after = before + tokens
        if after and not before:
            self._rate.began(self._clock())
        elif before and not after:
            self._rate.paused(self._clock())


def _retry_token(keys: Sequence[bytes]) -> bytes:
    """Return what a request is known by when it comes again."""
    return hashlib.blake2b(b"".join(keys), digest_size=16).digest()
