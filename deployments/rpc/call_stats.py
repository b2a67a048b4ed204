"""How often this process has repeated calls, by the stage that was called."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class CallStats:
    """Counters by stage: ``retries`` after a lost replica, ``copies`` of calls that were late."""

    retries: Counter[str] = field(default_factory=Counter)
    copies: Counter[str] = field(default_factory=Counter)

    def expect(self, stage: str) -> None:
        """Let the counters of a stage exist before the first repetition."""
        self.retries[stage] += 0
        self.copies[stage] += 0


CALL_STATS = CallStats()
"""Those of this process, whose clients are made in many places."""
