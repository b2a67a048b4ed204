"""Metrics of the index."""

from __future__ import annotations

from deployments.metrics import definition
from deployments.metrics.definition import counter, gauge, histogram, published_by

INDEX = published_by(
    definition.INDEX,
    gauge("embedder_index_ready", "ready", "whether the shard takes reads and writes"),
    gauge("embedder_index_collections", "collections", "collections of the shard"),
    gauge("embedder_index_points", "points", "points of the shard"),
    counter(
        "embedder_index_damaged_snapshots",
        "damaged_snapshots",
        "damaged snapshots that were rebuilt from the store",
    ),
    counter("embedder_index_save_failures", "save_failures", "snapshots that could not be written"),
    counter(
        "embedder_index_object_failures",
        "object_failures",
        "calls of the object store of snapshots that failed",
    ),
    gauge("embedder_index_recovery_seconds", "recovery_s", "time that the last start took"),
    gauge(
        "embedder_index_points_from_store",
        "points_from_store",
        "points read again from the store by the last start",
    ),
    histogram(
        "embedder_index_call_seconds",
        "call_seconds",
        "time of a call in the shard, its wait for a thread included, by the queue of its threads",
        "queue",
    ),
)
"""Metrics of every index shard."""

INDEX_STORE = published_by(
    definition.INDEX,
    histogram(
        "embedder_index_commit_seconds",
        "commit_seconds",
        "time of a commit, which stores up to 256 writes and makes them visible",
    ),
    counter(
        "embedder_index_commit_failures",
        "commit_failures",
        "commits of which the store refused a write",
    ),
    counter("embedder_index_committed_writes", "committed_writes", "writes that were committed"),
    gauge(
        "embedder_index_connections",
        "connections",
        "connections for reads to the database of the index, by state: busy or idle",
        "state",
    ),
    gauge(
        "embedder_index_follower_lag_seconds",
        "follower_lag_s",
        "time since this replica last had all writes of the database, 0 without a database",
    ),
)
"""Metrics of the store of a shard: its SQLite file or its database."""
