"""A shard of the EmbeddingCache as a cache: waiting lookups share one call, and so do inserts."""

from __future__ import annotations

from functools import partial

from deployments.rpc import message_size
from deployments.rpc.handle_client import Handle, HandleClient
from embedder.batching.packing import Budget
from embedder.batching.queue import BatchContext
from embedder.batching.slots import Slots
from embedder.batching.stages import BatchingCache
from embedder.core.types import CacheHits, Entries

CALL_KEYS = 4096
"""The most keys of one call."""

INSERTS_PAUSE_S = 0.25
"""Pause between two calls with inserts. No request waits for them, and each call costs both
processes a millisecond."""

INSERTED_BYTES = 16 * 2**20
"""The most bytes of one call with inserts: with the pause, more per second than models compute."""

WORTH_KEYS = 256
"""Looking up so many keys takes several times as long as a call between processes. Fewer keys wait
until the call in progress has ended."""


class RemoteCache(BatchingCache):
    """One shard of the EmbeddingCache; ``name`` is its deployment."""

    def __init__(self, name: str, handle: Handle) -> None:
        self._client = HandleClient(name, handle)
        super().__init__(
            self._look_up,
            self._insert,
            lookups=partial(_budget, message_size.GATHERED_BYTES),
            inserts=partial(_budget, INSERTED_BYTES),
            slots=Slots(2, eager=1, worth_tokens=WORTH_KEYS),
            pause_s=INSERTS_PAUSE_S,
        )

    async def _look_up(self, keys: list[bytes], width: int, context: BatchContext) -> CacheHits:
        size = len(keys) * 4 * width
        hits: CacheHits = await self._client.call(
            "get_many", keys, width, size=size, deadline=context.deadline
        )
        return hits

    async def _insert(self, keys: list[bytes], entries: Entries, context: BatchContext) -> None:
        size = entries.vectors.nbytes
        await self._client.call("put_many", keys, entries, size=size, deadline=context.deadline)


def _budget(max_bytes: int, width: int) -> Budget:
    """Return how many entries of a width one call may hold."""
    max_items = min(CALL_KEYS, message_size.rows_within(width, max_bytes))
    return Budget(CALL_KEYS, max_items=max_items)
