"""Metrics of the cache."""

from __future__ import annotations

from deployments.metrics import definition
from deployments.metrics.definition import INGRESS, counter, gauge, published_by

CACHE = published_by(
    (definition.CACHE, INGRESS),
    counter("embedder_cache_hits", "hits", "keys that were found"),
    counter("embedder_cache_misses", "misses", "keys that were not found"),
    counter("embedder_cache_expired", "expired", "entries older than the TTL"),
    counter("embedder_cache_evicted", "evicted", "entries removed to make room"),
    counter("embedder_cache_rejected", "rejected", "entries too large to keep"),
    gauge("embedder_cache_entries", "entries", "entries stored now"),
    gauge("embedder_cache_bytes", "bytes", "bytes that the entries take"),
    gauge("embedder_cache_max_bytes", "max_bytes", "limit of these bytes"),
)
"""Metrics of every cache: of the shards, and of the local cache of each ingress replica."""

CACHE_STORE = published_by(
    definition.CACHE,
    gauge("embedder_cache_dirty", "dirty", "changes not yet written to the store"),
    counter("embedder_cache_written", "written", "entries written to the store"),
    counter("embedder_cache_store_failures", "failures", "writes that the store refused"),
    counter("embedder_cache_store_corrupt", "corrupt", "damaged rows that were dropped"),
    counter(
        "embedder_cache_store_renamed_files",
        "renamed_files",
        "damaged or foreign files that were renamed, and the cache started empty",
    ),
)
"""Additional metrics of a cache shard that stores its entries on disk or in Redis."""

SHARED_CACHE = published_by(
    INGRESS,
    counter(
        "embedder_cache_lookup_failures",
        "failures",
        "calls of this ingress to shards that failed or timed out",
    ),
    counter(
        "embedder_cache_circuit_opened",
        "opened",
        "times that the circuit of a shard opened after failures",
    ),
    gauge("embedder_cache_circuits_open", "open", "shards whose circuit is open"),
)
"""Metrics of an ingress replica about its calls to the cache shards."""
