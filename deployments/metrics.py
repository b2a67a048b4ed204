"""The metric catalogue, and the publication of a replica's counters as metrics of Ray.

On every node Ray exports the metrics for Prometheus, with the prefix `ray_` and the replica as a
label. A replica reads its counters every few seconds, so metrics cost no request any time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from enum import Enum

import ray
from ray.serve import metrics

from embedder.pipeline.threads import QueueStats


class Kind(str, Enum):
    """A counter only grows while its process lives; a gauge is a present value."""

    COUNTER = "counter"
    GAUGE = "gauge"


@dataclass(frozen=True, slots=True)
class MetricDefinition:
    """One metric; ``source`` is the key of its number in the statistics of a replica.

    ``label`` is the name of an additional label.
    """

    name: str
    kind: Kind
    source: str
    description: str
    label: str | None = None

    @property
    def exported(self) -> str:
        """Return the name that Prometheus reads: Ray's exporter ends counters in ``_total``."""
        return f"ray_{self.name}" + ("_total" if self.kind is Kind.COUNTER else "")


def _counter(name: str, source: str, description: str) -> MetricDefinition:
    return MetricDefinition(name, Kind.COUNTER, source, description)


def _gauge(name: str, source: str, description: str) -> MetricDefinition:
    return MetricDefinition(name, Kind.GAUGE, source, description)


CACHE = (
    _counter("embedder_cache_hits", "hits", "keys that were found"),
    _counter("embedder_cache_misses", "misses", "keys that were not found"),
    _counter("embedder_cache_expired", "expired", "entries older than the TTL"),
    _counter("embedder_cache_evicted", "evicted", "entries removed to make room"),
    _counter("embedder_cache_rejected", "rejected", "entries too large to keep"),
    _gauge("embedder_cache_entries", "entries", "entries stored now"),
    _gauge("embedder_cache_bytes", "bytes", "bytes that the entries take"),
    _gauge("embedder_cache_max_bytes", "max_bytes", "limit of these bytes"),
)
"""Metrics of every cache: of the shards, and of the local cache of each ingress replica."""

CACHE_STORE = (
    _gauge("embedder_cache_dirty", "dirty", "changes not yet written to the store"),
    _counter("embedder_cache_written", "written", "entries written to the store"),
    _counter("embedder_cache_store_failures", "failures", "writes that the store refused"),
    _counter("embedder_cache_store_corrupt", "corrupt", "damaged rows that were dropped"),
    _counter(
        "embedder_cache_store_renamed_files",
        "renamed_files",
        "damaged or foreign files that were renamed, and the cache started empty",
    ),
)
"""Additional metrics of a cache shard that stores its entries on disk or in Redis."""

SHARED_CACHE = (
    _counter(
        "embedder_cache_lookup_failures",
        "failures",
        "calls of this ingress to shards that failed or timed out",
    ),
    _counter(
        "embedder_cache_circuit_opened",
        "opened",
        "times that the circuit of a shard opened after failures",
    ),
    _gauge("embedder_cache_circuits_open", "open", "shards whose circuit is open"),
)
"""Metrics of an ingress replica about its calls to the cache shards."""

INDEX = (
    _gauge("embedder_index_ready", "ready", "whether the shard takes reads and writes"),
    _gauge("embedder_index_collections", "collections", "collections of the shard"),
    _gauge("embedder_index_points", "points", "points of the shard"),
    _counter(
        "embedder_index_damaged_snapshots",
        "damaged_snapshots",
        "damaged snapshots that were rebuilt from the store",
    ),
    _counter(
        "embedder_index_save_failures", "save_failures", "snapshots that could not be written"
    ),
    _counter(
        "embedder_index_object_failures",
        "object_failures",
        "calls of the object store of snapshots that failed",
    ),
    _gauge("embedder_index_recovery_s", "recovery_s", "seconds that the last start took"),
    _gauge(
        "embedder_index_points_from_store",
        "points_from_store",
        "points read again from the store by the last start",
    ),
)
"""Metrics of every index shard."""

QUEUES = tuple(
    replace(definition, label="queue")
    for definition in (
        _gauge(
            "embedder_queue_waiting", "waiting", "admitted work that has not started, by `queue`"
        ),
        _gauge("embedder_queue_running", "running", "work that runs, by `queue`"),
        _counter(
            "embedder_queue_refused", "refused", "work that would have waited too long, by `queue`"
        ),
    )
)
"""Metrics of each queue of an ingress replica, a tokenizer replica and an index shard."""

SCALING = tuple(
    replace(definition, label="stage")
    for definition in (
        _gauge("embedder_scaling_target", "target", "replicas that a `stage` is given"),
        _gauge("embedder_scaling_needed", "needed", "replicas that its load needs, not rounded"),
        _gauge(
            "embedder_scaling_arriving_per_s",
            "arriving_per_s",
            "work that arrives for a `stage` each second: tokens of an encoder, characters of the "
            "tokenizer, requests of the ingress; work that was refused included",
        ),
        _gauge("embedder_scaling_queued", "queued", "work that waits or runs in a `stage`"),
        _gauge(
            "embedder_scaling_overflow_per_s",
            "overflow_per_s",
            "work each second that other pools cannot do",
        ),
        _gauge(
            "embedder_scaling_replica_per_s",
            "replica_per_s",
            "measured work each second of one busy replica of a `stage`",
        ),
    )
)
"""Metrics of the controller, about the number of replicas of each stage and its reason."""

ENCODER_POOLS = tuple(
    replace(definition, label="pool")
    for definition in (
        _gauge("embedder_pool_replicas", "replicas", "running encoders, by `pool`"),
        _gauge(
            "embedder_pool_waiting_tokens",
            "waiting_tokens",
            "tokens that wait in this ingress for a `pool` of encoders",
        ),
        _gauge(
            "embedder_pool_backlog_tokens",
            "backlog_tokens",
            "tokens that wait or run, of all callers, as this ingress estimates them, by `pool`",
        ),
        _gauge(
            "embedder_pool_tokens_per_s",
            "tokens_per_s",
            "rate of all replicas of a `pool`, 0 while unknown",
        ),
        _counter(
            "embedder_pool_tokens", "added_tokens", "tokens that this ingress gave to a `pool`"
        ),
        _counter(
            "embedder_pool_failures", "failures", "calls to a `pool` that failed; others got them"
        ),
    )
)
"""Metrics of an ingress replica about each pool of encoders; `pool` is its deployment."""

CATALOGUE: tuple[MetricDefinition, ...] = (
    *CACHE,
    *CACHE_STORE,
    *SHARED_CACHE,
    *INDEX,
    *QUEUES,
    *SCALING,
    *ENCODER_POOLS,
)


class MetricPublisher:
    """Publishes some metrics of this replica; does nothing if Ray does not run."""

    def __init__(self, definitions: Sequence[MetricDefinition]) -> None:
        self._definitions = definitions
        self._instruments: dict[str, metrics.Counter | metrics.Gauge] = {}
        self._counted: dict[tuple[str, str], float] = {}

    def publish_queues(self, queues: Iterable[QueueStats]) -> None:
        """Publish the numbers of each queue, with its name as label."""
        for queue in queues:
            self.publish(asdict(queue), queue.name)

    def publish(self, numbers: Mapping[str, object], label: str = "") -> None:
        """Publish the numbers whose keys are sources of the metrics, and ignore the others.

        ``label`` is the value of the metrics' additional label.
        """
        if not ray.is_initialized():
            return
        for definition in self._definitions:
            number = numbers.get(definition.source)
            if isinstance(number, (int, float)):
                self._record(definition, float(number), label)

    def _record(self, definition: MetricDefinition, number: float, label: str) -> None:
        name = definition.name
        if name not in self._instruments:
            kind = metrics.Counter if definition.kind is Kind.COUNTER else metrics.Gauge
            tag_keys = (definition.label,) if definition.label else None
            self._instruments[name] = kind(
                name, description=definition.description, tag_keys=tag_keys
            )
        instrument = self._instruments[name]
        tags = {definition.label: label} if definition.label else {}
        if isinstance(instrument, metrics.Gauge):
            instrument.set(number, tags)
            return
        # A counter of Ray takes the increase, and refuses an increase of 0.
        key = (name, label)
        increase = number - self._counted.get(key, 0.0)
        if increase > 0:
            instrument.inc(increase, tags)
            self._counted[key] = number
