"""How the cache and the index are sharded over deployments."""

from __future__ import annotations

from pydantic import Field

from embedder.cache.fail_open import TIMEOUT_S
from embedder.settings.model import CacheSettings, IndexSettings


class ServedCacheSettings(CacheSettings):
    """How the cache is spread over the graph: shards that all share, and one in each ingress."""

    shards: int = Field(
        1, ge=1, le=64, description="EmbeddingCache deployments, each of max_bytes bytes"
    )
    near_bytes: int = Field(32 * 2**20, ge=0, description="the cache inside each ingress replica")
    timeout_s: float = Field(
        TIMEOUT_S, gt=0, description="a lookup in a shard that takes longer is a miss"
    )


class ServedIndexSettings(IndexSettings):
    """How the index is spread over the graph."""

    shards: int = Field(
        1,
        ge=1,
        le=64,
        description="VectorIndex deployments that each collection lies over; it cannot change "
        "once there are collections",
    )
