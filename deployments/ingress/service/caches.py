"""The caches of one ingress replica: its local cache, and the shards of the shared cache."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

from deployments.cache.client import INSERTION_PAUSE_S, RemoteCache
from deployments.metrics.cache import CACHE, SHARED_CACHE
from deployments.metrics.publisher import MetricPublisher
from deployments.rpc.handle_client import Handle, HandleClient
from deployments.rpc.replica_name import replica_id
from deployments.settings.service import ServedCacheSettings
from embedder.cache.archive_format import ArchivedModel
from embedder.cache.fail_open import FailOpenCache
from embedder.cache.memory import MemoryCache
from embedder.cache.sharding import ShardedCache
from embedder.cache.store.circuit_breaker import CircuitState
from embedder.core.deadline import Deadline
from embedder.core.types import ModelInfo
from embedder.pipeline.fingerprint import model_tag

ANNOUNCE_S = 10.0
"""Seconds that a cache shard, which may be starting, may take to accept an announcement."""

ANNOUNCE_EVERY_S = 30.0
"""Seconds between two announcements of a model: a restarted shard does not know the models."""

logger = logging.getLogger("ray.serve")


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
        self._shards = [HandleClient(name, handle) for name, handle in shards.items()]
        self._announcements: set[asyncio.Future[None]] = set()
        self._announce_s = 0.0
        self._local_metrics = MetricPublisher(CACHE)
        self._shared_metrics = MetricPublisher(SHARED_CACHE)

    def local_stats(self) -> dict[str, Any]:
        """Return the counters and the limits of the local cache, and the name of this replica."""
        local = self.local
        return {
            **asdict(local.stats),
            "age_s": local.age_s,
            "max_bytes": local.max_bytes,
            "replica": replica_id(),
        }

    def clear_local(self, tag: bytes | None = None) -> int:
        """Clear the local cache, or the entries of the model with this tag; return their number."""
        return self.local.clear() if tag is None else self.local.purge(tag)

    def run_maintenance(self, models: Iterable[ModelInfo]) -> None:
        """Publish the metrics of both caches, and announce the loaded models from time to time."""
        self._publish()
        if (now := time.monotonic()) >= self._announce_s:
            self._announce_s = now + ANNOUNCE_EVERY_S
            for model in models:
                self.announce(model)

    def announce(self, model: ModelInfo) -> None:
        """Announce a loaded model to the shards, in the background and without retries.

        A shard that knows the model does nothing.
        """
        announced = ArchivedModel(
            tag=model_tag(model).hex(),
            name=model.name,
            repository=model.repository,
            revision=model.revision,
            dtype=model.dtype,
            width=model.width,
        )
        deadline = Deadline.after(ANNOUNCE_S)
        for shard in self._shards:
            call = asyncio.ensure_future(shard.call("serves", announced, deadline=deadline))
            # The loop keeps only weak references to tasks.
            self._announcements.add(call)
            call.add_done_callback(self._announcements.discard)
            call.add_done_callback(_log_failure)

    def _publish(self) -> None:
        self._local_metrics.publish({**asdict(self.local.stats), "max_bytes": self.local.max_bytes})
        states = self.shared.states
        self._shared_metrics.publish(
            {
                "failures": sum(state.failures for state in states),
                "opened": sum(state.opened for state in states),
                "open": sum(state.circuit is not CircuitState.CLOSED for state in states),
            }
        )


def _log_failure(announcement: asyncio.Future[None]) -> None:
    if not announcement.cancelled() and (error := announcement.exception()):
        logger.warning("a model was not announced to the cache: %r", error)
