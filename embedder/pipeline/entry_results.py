"""The results of the distinct inputs of a request, some from a cache and some computed."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from embedder.core.types import CacheHits, Entries, Timings


@dataclass(slots=True)
class EntryResults:
    """Entries of n inputs, ``cached`` bool[n], and the longest timings of their computations."""

    entries: Entries
    cached: NDArray[np.bool_]
    timings: Timings = field(default_factory=Timings)

    @classmethod
    def of_hits(cls, hits: CacheHits, count: int, width: int) -> EntryResults:
        """Return ``count`` rows, of which only the hits are filled and marked as cached."""
        answers = cls(Entries.allocate(count, width), np.zeros(count, np.bool_))
        answers.entries.put(hits.rows, hits.entries)
        answers.cached[hits.rows] = True
        return answers

    def missing(self) -> list[int]:
        """Return the rows that were not in a cache."""
        rows: list[int] = np.flatnonzero(~self.cached).tolist()
        return rows

    def put(
        self, rows: NDArray[np.intp], source: EntryResults, source_rows: NDArray[np.intp]
    ) -> None:
        """Overwrite the given rows with some rows of ``source``, and merge its timings."""
        self.entries.put(rows, source.entries.take(source_rows))
        self.cached[rows] = source.cached[source_rows]
        self.timings = self.timings.longest(source.timings)
