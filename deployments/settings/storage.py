"""How the cache and the index are sharded over deployments."""

from __future__ import annotations

from pydantic import Field

from embedder.cache.fail_open import TIMEOUT_S
from embedder.settings.model import CacheSettings, IndexSettings


class ServedCacheSettings(CacheSettings):
    """The shared cache, sharded over deployments, and the local cache of each ingress replica."""

    shards: int = Field(
        1, ge=1, le=64, description="EmbeddingCache deployments, each of max_bytes bytes"
    )
    local_bytes: int = Field(
        32 * 2**20, ge=0, description="bytes of the local cache of each ingress replica"
    )
    timeout_s: float = Field(
        TIMEOUT_S, gt=0, description="seconds after which a lookup in a shard counts as a miss"
    )


class ServedIndexSettings(IndexSettings):
    """The index, sharded over deployments."""

    shards: int = Field(
        1,
        ge=1,
        le=64,
        description="VectorIndex deployments over which each collection is sharded; fixed once "
        "collections exist",
    )
