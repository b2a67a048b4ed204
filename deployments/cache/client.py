"""A shard of the EmbeddingCache as a cache: waiting lookups share one call."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from deployments.rpc import message_size
from deployments.rpc.handle_client import Handle, HandleClient
from embedder.batching.batcher import Batcher
from embedder.batching.packing import Budget, Slots
from embedder.batching.queue import BatchContext
from embedder.core.entries.blobs import ASSUMED_BYTES, stacked
from embedder.core.entries.cache_hits import CacheHits
from embedder.core.entries.entries import Entries

CALL_KEYS = 4096
"""The most keys of one call."""

INSERTION_PAUSE_S = 0.25
"""Pause between two calls with insertions. No request waits for them, and each call costs both
processes a millisecond."""

INSERTED_BYTES = 16 * 2**20
"""The most bytes of one call with insertions: larger calls would delay the lookups of the shard."""

WORTH_KEYS = 256
"""Looking up so many keys takes several times as long as a call between processes. Fewer keys wait
until the call in progress has ended."""

_Hit = tuple[CacheHits, int]
"""The hits of a call and the number of one row in them; not copied yet."""


class RemoteCache:
    """One shard of the EmbeddingCache; ``name`` is its deployment."""

    def __init__(self, name: str, handle: Handle) -> None:
        self._client = HandleClient(name, handle)
        self._lookups: dict[int, Batcher[bytes, _Hit | None]] = {}

    async def get_many(self, keys: Sequence[bytes], width: int) -> CacheHits:
        """Return the cached entries with ``width`` components among the keys."""
        lookups = self._lookups.get(width)
        if lookups is None:
            lookups = self._lookups[width] = Batcher(
                partial(self._look_up, width),
                budget=Budget(
                    CALL_KEYS, max_items=_max_entries(width, message_size.GATHERED_BYTES)
                ),
                slots=Slots(2, eager=1, worth_tokens=WORTH_KEYS),
                cancel_abandoned=True,
            )
        found = await lookups.submit(keys, [1] * len(keys))
        rows = [row for row, hit in enumerate(found) if hit is not None]
        if not rows:
            return CacheHits.empty(width)
        return _gathered(rows, [hit for hit in found if hit is not None])

    async def put_many(self, keys: Sequence[bytes], entries: Entries) -> None:
        """Insert entries of one width, by as many calls as their size requires."""
        call = (np.cumsum(entries.sizes + message_size.POINT_BYTES) - 1) // INSERTED_BYTES
        full = np.arange(len(keys)) // CALL_KEYS
        cuts = np.flatnonzero(np.diff(call) | np.diff(full)) + 1
        for start, stop in pairwise([0, *cuts.tolist(), len(keys)]):
            rows = slice(start, stop)
            sent = entries.take(rows)
            await self._client.call("put_many", keys[rows], sent, size=sent.nbytes)

    async def _look_up(
        self, width: int, keys: list[bytes], context: BatchContext
    ) -> list[_Hit | None]:
        hits: CacheHits = await self._client.call(
            "get_many",
            keys,
            width,
            size=len(keys) * (4 * width or ASSUMED_BYTES),
            deadline=context.deadline,
        )
        found: list[_Hit | None] = [None] * len(keys)
        for row, at in enumerate(hits.rows.tolist()):
            found[at] = (hits, row)
        return found


def _max_entries(width: int, max_bytes: int) -> int:
    """Return how many entries of a width one call may hold."""
    return min(CALL_KEYS, message_size.rows_within(width, max_bytes))


def _gathered(rows: list[int], found: list[_Hit]) -> CacheHits:
    """Return copies of at least one hit; ``rows`` are the rows of the lookup that were found."""
    entries = Entries(
        stacked([hits.entries.vectors[row] for hits, row in found]),
        np.array([hits.entries.token_counts[row] for hits, row in found], np.int32),
        np.array([hits.entries.truncated[row] for hits, row in found], np.bool_),
    )
    ttls_s: NDArray[np.float64] | None = None
    if any(hits.ttls_s is not None for hits, _ in found):
        ttls_s = np.array(
            [np.inf if hits.ttls_s is None else hits.ttls_s[row] for hits, row in found], np.float64
        )
    return CacheHits(np.array(rows, np.intp), entries, ttls_s)
