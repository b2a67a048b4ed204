"""The entries of a request, from caches and from computations."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from embedder.core.entries.cache_hits import CacheHits
from embedder.core.entries.entries import Entries
from embedder.core.types import Timings


@dataclass(slots=True)
class EntryResults:
    """Entries of n inputs, ``cached`` bool[n], and the longest timings of their computations."""

    entries: Entries
    cached: NDArray[np.bool_]
    timings: Timings = field(default_factory=Timings)

    @classmethod
    def of_hits(cls, hits: CacheHits, count: int, width: int) -> EntryResults:
        """Return ``count`` rows, of which only the hits are filled and marked as cached."""
        if len(hits.rows) == count:
            return cls(hits.entries, np.ones(count, np.bool_))
        results = cls(Entries.allocate(count, width), np.zeros(count, np.bool_))
        if len(hits.rows):
            results.entries.put(hits.rows, hits.entries)
            results.cached[hits.rows] = True
        return results

    def missing(self) -> list[int]:
        """Return the rows that were not in a cache."""
        rows: list[int] = np.flatnonzero(~self.cached).tolist()
        return rows

    def fill(self, missing: list[int], entries: Entries) -> None:
        """Set the entries of all missing rows; they are kept as they are if that is every row."""
        if len(missing) == len(self.cached):
            self.entries = entries
        else:
            self.entries.put(np.array(missing, np.intp), entries)

    def put(
        self, rows: NDArray[np.intp], source: EntryResults, source_rows: NDArray[np.intp]
    ) -> None:
        """Overwrite the given rows with some rows of ``source``, and merge its timings.

        Results of several kinds are bytes, those of one kind may be vectors.
        """
        taken = source.entries.take(source_rows).of_width(self.entries.width)
        self.entries.put(rows, taken)
        self.cached[rows] = source.cached[source_rows]
        self.timings = self.timings.longest(source.timings)
