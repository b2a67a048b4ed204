"""The bodies of responses to operators about caches."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, computed_field

from deployments.ingress.service.replicas import Problem
from embedder.cache.store.circuit_breaker import CircuitState


class FromRecord(BaseModel):
    """A body that is filled from a record with the same fields."""

    model_config = ConfigDict(from_attributes=True)


class Cache(FromRecord):
    """A cache of vectors: counters since its start, and what it holds."""

    entries: int
    bytes: int
    max_bytes: int
    hits: int
    misses: int
    expired: int = Field(description="entries that were too old")
    evicted: int = Field(description="entries removed to make room")
    rejected: int = Field(description="entries that were too large")
    age_s: float | None = Field(description="age of the oldest entry")

    @computed_field(description="null before the first lookup")  # type: ignore[prop-decorator]
    @property
    def hit_ratio(self) -> float | None:
        """Return the share of lookups that found an entry."""
        lookups = self.hits + self.misses
        return self.hits / lookups if lookups else None


class NearCache(Cache):
    """The cache inside one ingress replica."""

    replica: str


class CacheStore(FromRecord):
    """The store on disk or in Redis behind a cache shard."""

    state: str
    dirty: int = Field(description="changes that have not been written")
    written: int
    failures: int = Field(description="failed writes, which are retried")
    corrupt: int = Field(description="damaged rows that were deleted")
    set_aside: int = Field(description="damaged or foreign files that were renamed")
    last_write_age_s: float | None


class CacheShard(Cache):
    """One shard of the shared cache; ``store`` is null if it has no store."""

    shard: str
    store: CacheStore | None


class FarCache(FromRecord):
    """The state of one cache shard in this ingress replica."""

    name: str
    circuit: CircuitState
    failures: int = Field(description="calls that failed or timed out; each counted as a miss")
    opened: int = Field(description="how often its circuit breaker opened")
    pending: int = Field(description="inserts in progress")


class Caches(BaseModel):
    """The local caches of all ingress replicas, and the shards of the shared cache."""

    near: list[NearCache | Problem]
    shards: list[CacheShard | Problem]


class Cleared(BaseModel):
    """The number of removed entries; an entry in several caches counts in each."""

    cleared: int
