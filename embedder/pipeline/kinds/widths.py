"""The widths of the entries of each kind of results, and lookups for results of several kinds.

Caches keep entries by their width. A request for several kinds holds all of its rows as bytes, so
that one array has them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from embedder.cache.memory import MemoryCache
from embedder.cache.sharding import ShardedCache
from embedder.core.entries.blobs import RAGGED
from embedder.core.entries.cache_hits import CacheHits
from embedder.core.entries.distinct_inputs import DistinctInputs
from embedder.core.entries.entries import Entries
from embedder.core.outputs import OutputKind
from embedder.core.types import ModelInfo

_OfWidth = tuple[int, NDArray[np.intp], list[bytes]]
"""A width, the numbers of the results with entries of this width, and their keys."""


class KindWidths:
    """The widths of one model; `RAGGED` for kinds whose rows have different lengths."""

    def __init__(self, model: ModelInfo) -> None:
        fixed = (OutputKind.DENSE, OutputKind.SCORES)
        self._of = {kind: model.width if kind in fixed else RAGGED for kind in OutputKind}
        self.first = self._of[model.outputs[0]]

    def look_up(self, cache: MemoryCache, distinct: DistinctInputs) -> CacheHits:
        """Return the entries in a local cache for results of several kinds."""
        found = [
            (rows, _as_blobs(cache.get_many(keys, width)))
            for width, rows, keys in self._by_width(distinct)
        ]
        return CacheHits.merged(found, RAGGED)

    async def look_up_shared(self, cache: ShardedCache, distinct: DistinctInputs) -> CacheHits:
        """Return the entries in a shared cache for results of several kinds."""
        parts = list(self._by_width(distinct))
        found = await asyncio.gather(*(cache.get_many(keys, width) for width, _, keys in parts))
        return CacheHits.merged(
            [(rows, _as_blobs(hits)) for (_, rows, _), hits in zip(parts, found, strict=True)],
            RAGGED,
        )

    def put(
        self,
        cache: MemoryCache,
        distinct: DistinctInputs,
        entries: Entries,
        ttls_s: NDArray[np.float64] | None,
    ) -> None:
        """Store the entries of several kinds in a local cache."""
        for keys, part, lives_s in self._split(distinct, entries, ttls_s):
            cache.put_many(keys, part, lives_s)

    def put_later(self, cache: ShardedCache, distinct: DistinctInputs, entries: Entries) -> None:
        """Send the entries of several kinds to a shared cache, without waiting for it."""
        for keys, part, _ in self._split(distinct, entries, None):
            cache.put_later(keys, part)

    def _split(
        self, distinct: DistinctInputs, entries: Entries, ttls_s: NDArray[np.float64] | None
    ) -> Iterator[tuple[Sequence[bytes], Entries, NDArray[np.float64] | None]]:
        """Yield keys, entries and times to live of several kinds, as caches keep them."""
        for width, rows, keys in self._by_width(distinct):
            part = entries.take(rows).of_width(width)
            yield keys, part, None if ttls_s is None else ttls_s[rows]

    def _by_width(self, distinct: DistinctInputs) -> Iterator[_OfWidth]:
        assert distinct.asked is not None
        widths = np.array([self._of[kind] for kind in distinct.asked.kinds], np.intp)
        for width in np.unique(widths).tolist():
            rows = np.flatnonzero(widths == width)
            yield width, rows, [distinct.keys[row] for row in rows.tolist()]


def _as_blobs(hits: CacheHits) -> CacheHits:
    """Return hits whose rows are bytes."""
    return replace(hits, entries=hits.entries.of_width(RAGGED))
