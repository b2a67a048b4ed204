"""The caches of one ingress replica: its local cache, and the shards of the shared cache."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from deployments.cache.client import INSERTION_PAUSE_S, RemoteCache
from deployments.metrics import CACHE, SHARED_CACHE, MetricPublisher
from deployments.rpc.handle_client import Handle
from deployments.settings.storage import ServedCacheSettings
from embedder.cache.fail_open import FailOpenCache
from embedder.cache.memory import MemoryCache
from embedder.cache.sharding import ShardedCache
from embedder.cache.store.circuit_breaker import CircuitState


class IngressCaches:
    """The local cache, the shared cache, and their metrics."""

    def __init__(self, settings: ServedCacheSettings, shards: Mapping[str, Handle]) -> None:
        self.local = MemoryCache(settings.local_bytes, ttl_s=settings.ttl_s)
        self.shared = ShardedCache(
            [
                FailOpenCache(
                    RemoteCache(name, handle),
                    name=name,
                    timeout_s=settings.timeout_s,
                    pause_s=INSERTION_PAUSE_S,
                )
                for name, handle in shards.items()
            ]
        )
        self._local_metrics = MetricPublisher(CACHE)
        self._shared_metrics = MetricPublisher(SHARED_CACHE)

    def local_stats(self) -> dict[str, Any]:
        """Return the counters and the limits of the local cache."""
        local = self.local
        return {**asdict(local.stats), "age_s": local.age_s, "max_bytes": local.max_bytes}

    def clear_local(self, tag: bytes | None) -> int:
        """Remove all entries of the local cache, or those with a tag; return their number."""
        return self.local.clear() if tag is None else self.local.purge(tag)

    def publish(self) -> None:
        """Publish the metrics of both caches."""
        self._local_metrics.publish({**asdict(self.local.stats), "max_bytes": self.local.max_bytes})
        states = self.shared.states
        self._shared_metrics.publish(
            {
                "failures": sum(state.failures for state in states),
                "opened": sum(state.opened for state in states),
                "open": sum(state.circuit is not CircuitState.CLOSED for state in states),
            }
        )
