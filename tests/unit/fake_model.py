"""A model whose vectors can be checked by eye, and a shared cache whose faults a test sets.

The ids of a text are its code points. A vector holds their sum, their number, the first and the
last.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from embedder.cache.fail_open import FailOpenCache
from embedder.cache.memory import MemoryCache
from embedder.cache.sharding import ShardedCache
from embedder.core.deadline import Deadline
from embedder.core.entries.cache_hits import CacheHits
from embedder.core.entries.entries import Entries
from embedder.core.pairs import ChunkTokens, Pair
from embedder.core.request import EmbedOptions
from embedder.core.types import Encoded, Input, ModelInfo, Priority, TokenBatch, Tokenized, Truncate
from embedder.pipeline.pipeline import Pipeline
from embedder.pipeline.stage_executor import Stages

MODEL = ModelInfo(
    name="sums",
    repository="test/sums",
    revision="1",
    digest="0" * 64,
    config_digest="2" * 64,
    tokenizer_digest="1" * 64,
    width=4,
    max_tokens=8,
    vocabulary_size=1000,
    max_batch_tokens=100,
    pooling="mean",
    dtype="float32",
    backend="test",
    device="cpu",
    matryoshka=(3, 2, 1),
)
RAW = EmbedOptions(normalize=False)


def _ids(item: Input) -> list[int]:
    if isinstance(item, Pair):
        return [*map(ord, item.query), 0, *map(ord, item.text)]
    assert not isinstance(item, ChunkTokens)
    return list(map(ord, item)) if isinstance(item, str) else list(item)


class FakeModel:
    """Tokenizer and encoder in one; records its inputs and reports the times that a test sets."""

    def __init__(self) -> None:
        self.tokenized: list[list[Input]] = []
        self.encoded: list[list[list[int]]] = []
        self.priorities: list[Priority] = []
        self.gate: asyncio.Event | None = None
        self.queue_s = self.inference_s = 0.0

    async def tokenize(
        self, inputs: Sequence[Input], *, truncate: Truncate, deadline: Deadline
    ) -> Tokenized:
        self.tokenized.append(list(inputs))
        ids = list(map(_ids, inputs))
        cut = {Truncate.END: slice(8), Truncate.START: slice(-8, None), Truncate.NONE: slice(None)}
        rows = [row[cut[truncate]] for row in ids]
        shorter = [len(row) < len(whole) for row, whole in zip(rows, ids, strict=True)]
        return Tokenized(TokenBatch.of(rows), np.array(shorter, np.bool_))

    async def encode(
        self, tokens: TokenBatch, *, priority: Priority, deadline: Deadline
    ) -> Encoded:
        rows = [row.tolist() for row in tokens.rows()]
        self.encoded.append(rows)
        self.priorities.append(priority)
        if self.gate is not None:
            await self.gate.wait()
        vectors = np.array([[sum(row), len(row), row[0], row[-1]] for row in rows], np.float32)
        return Encoded(vectors, self.queue_s, self.inference_s)


class FakeSharedCache:
    """A shared cache in memory that counts lookups, and can block or fail."""

    def __init__(self) -> None:
        self.store = MemoryCache(2**20)
        self.gets = 0
        self.open = asyncio.Event()
        self.open.set()
        self.takes = asyncio.Event()
        self.takes.set()
        self.error: Exception | None = None

    async def get_many(self, keys: Sequence[bytes], width: int) -> CacheHits:
        self.gets += 1
        await self.open.wait()
        if self.error is not None:
            raise self.error
        return self.store.get_many(keys, width)

    async def put_many(self, keys: Sequence[bytes], entries: Entries) -> None:
        await self.takes.wait()
        if self.error is not None:
            raise self.error
        self.store.put_many(keys, entries)


def sharded(shared_cache: FakeSharedCache | None, *, timeout_s: float) -> ShardedCache:
    """Return a cache of this one shard, or of none."""
    return ShardedCache([FailOpenCache(shared_cache, timeout_s=timeout_s)] if shared_cache else [])


def pipeline(
    model: FakeModel, shared_cache: FakeSharedCache | None = None, *, timeout_s: float = 0.01
) -> Pipeline:
    """Return a pipeline with an empty local cache."""
    stages = Stages(model, model, MemoryCache(2**20), sharded(shared_cache, timeout_s=timeout_s))
    return Pipeline(MODEL, stages, limits=None)


def expected(*texts: str) -> NDArray[np.float32]:
    """Return the model's vectors of texts, computed from their letters."""
    rows = [list(map(ord, text)) for text in texts]
    return np.array([[sum(row), len(row), row[0], row[-1]] for row in rows], np.float32)


async def settle() -> None:
    """Run all callbacks that are ready."""
    for _ in range(10):
        await asyncio.sleep(0)
