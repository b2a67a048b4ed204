"""A running service for the cache operations: real shards, and an ingress that records calls."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from typing import Any, cast

import numpy as np

from deployments.cache.replica import CacheReplica
from deployments.operations.cache import CacheOperations
from deployments.operations.running_service import RunningService
from deployments.settings.service import ServeSettings
from embedder.cache.archive_format import ArchivedModel
from embedder.cache.sharding import owners
from embedder.core.entries.entries import Entries
from embedder.core.request import EmbedOptions

TAGS = {"letters": b"modelone", "words": b"modeltwo"}
LETTERS = [
    ArchivedModel(tag=tag.hex(), name=name, repository=name, revision="1", dtype="float32", width=4)
    for name, tag in TAGS.items()
]


class InlineHandle:
    """Calls a stage in this process through the interface of a handle."""

    def __init__(self, stage: object) -> None:
        self._stage = stage

    def __getattr__(self, method: str) -> Any:
        return _Method(getattr(self._stage, method))

    def broadcast(self, method: str, *arguments: Any) -> Any:
        return _Answer([asyncio.run(getattr(self._stage, method)(*arguments))])


class _Method:
    def __init__(self, method: Any) -> None:
        self._method = method

    def remote(self, *arguments: Any) -> _Answer:
        return _Answer(asyncio.run(self._method(*arguments)))


class _Answer:
    def __init__(self, value: Any) -> None:
        self._value = value

    def result(self) -> Any:
        return self._value

    results = result


class CacheIngress:
    """Records the deletions and the texts."""

    def __init__(self) -> None:
        self.forgotten: list[bytes | None] = []
        self.embedded: list[tuple[list[str], EmbedOptions, str | None]] = []

    async def local_cache_stats(self) -> dict[str, Any]:
        counters = ("entries", "bytes", "max_bytes", "hits", "misses", "evicted")
        return {"replica": "r1", **dict.fromkeys(counters, 1)}

    async def clear_local_cache(self, tag: bytes | None = None) -> int:
        self.forgotten.append(tag)
        return 1

    async def embed(
        self, texts: Sequence[str], options: EmbedOptions, model: str | None
    ) -> list[str]:
        self.embedded.append((list(texts), options, model))
        return list(texts)


class CacheService:
    """A running service with some shards."""

    def __init__(self, shards: int) -> None:
        self.fake_ingress = CacheIngress()
        self.ingress = InlineHandle(self.fake_ingress)
        self.caches = [
            CacheReplica(ServeSettings(data_directory=None), f"EmbeddingCache-{shard}")
            for shard in range(shards)
        ]

    def shards(self, deployment: str) -> dict[str, InlineHandle]:
        return {f"{deployment}-{at}": InlineHandle(shard) for at, shard in enumerate(self.caches)}

    def fill(self, count: int) -> None:
        """Put entries of two models where they belong."""
        keys = [
            tag + hashlib.blake2b(str(number).encode(), digest_size=24).digest()
            for tag in TAGS.values()
            for number in range(count)
        ]
        numbers = np.arange(len(keys))
        vectors = np.repeat(numbers, 4).reshape(-1, 4).astype(np.float32)
        entries = Entries(vectors, numbers.astype(np.int32), numbers % 2 == 0)
        owner = owners(keys, len(self.caches))
        for number, shard in enumerate(self.caches):
            rows = np.flatnonzero(owner == number)
            asyncio.run(shard.put_many([keys[row] for row in rows.tolist()], entries.take(rows)))
            for model in LETTERS:
                asyncio.run(shard.serves(model))

    def content(self) -> dict[bytes, tuple[list[float], int, float]]:
        """Return everything that the shards hold."""
        found = {}
        for shard in self.caches:
            for records in asyncio.run(shard.records(asyncio.run(shard.keys()))):
                for row, key in enumerate(records.keys):
                    vector = records.entries.vectors[row].tolist()
                    count = int(records.entries.token_counts[row])
                    found[key] = (vector, count, float(records.ttls_s[row]))
        return found


def operations_on(service: CacheService) -> CacheOperations:
    return CacheOperations(cast("RunningService", service))
