"""Which records of a log are written in full, and which are only counted.

A failed shard raises the same error for each call, and each traceback takes kilobytes: an error is
written once in a period, and the number of its repetitions at the end of the period.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Iterator
from dataclasses import dataclass

KEPT = 256
"""Records that are remembered; where there are more, the period of the oldest one ends."""


@dataclass(slots=True)
class Repeated:
    """A record that was written at ``began``, and has been left out ``count`` times since."""

    title: str
    began: float
    count: int = 0


class Repeats:
    """Remembers the records of the last ``period_s`` seconds; times are of any one clock."""

    def __init__(self, period_s: float, kept: int = KEPT) -> None:
        self._period_s = period_s
        self._kept = kept
        self._records: OrderedDict[Hashable, Repeated] = OrderedDict()

    def admit(self, key: Hashable, title: str, now: float) -> bool:
        """Return whether the record with this key is to be written; count it if not.

        Call `ended` before, so that the period of a record that is over has ended.
        """
        known = self._records.get(key)
        if known is None:
            self._records[key] = Repeated(title, now)
            return True
        known.count += 1
        return False

    @property
    def is_counting(self) -> bool:
        """Return whether a record has been repeated in a period that has not been reported."""
        # A copy: a garbage collection in the loop may log, and so add a record.
        return any(one.count for one in list(self._records.values()))

    def ended(self, now: float) -> list[Repeated]:
        """Forget the records whose period is over; return those that were repeated in it."""
        return [one for one in self._forgotten(now) if one.count]

    def _forgotten(self, now: float) -> Iterator[Repeated]:
        while self._records:
            oldest = next(iter(self._records.values()))
            if now - oldest.began < self._period_s and len(self._records) <= self._kept:
                return
            yield self._records.popitem(last=False)[1]
