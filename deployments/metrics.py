"""The metric catalogue, and how a replica's counters become metrics of Ray.

Ray exports them for Prometheus on every node, with `ray_` in front and the replica as a label.
Stages count for themselves and are read here every few seconds, so a request pays for none.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import Enum

import ray
from ray.serve import metrics

from embedder.pipeline.threads import QueueStats


class Kind(str, Enum):
    """A counter only grows while its process lives; a gauge is what is the case."""

    COUNTER = "counter"
    GAUGE = "gauge"


@dataclass(frozen=True, slots=True)
class MetricDefinition:
    """One metric, and the name of the number that it is read from.

    ``label`` is the name of a label beside those of Ray.
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


CACHE = (
    MetricDefinition("embedder_cache_hits", Kind.COUNTER, "hits", "keys that were there"),
    MetricDefinition("embedder_cache_misses", Kind.COUNTER, "misses", "keys that were not there"),
    MetricDefinition(
        "embedder_cache_expired", Kind.COUNTER, "expired", "entries older than the TTL"
    ),
    MetricDefinition("embedder_cache_evicted", Kind.COUNTER, "evicted", "entries that made room"),
    MetricDefinition(
        "embedder_cache_rejected", Kind.COUNTER, "rejected", "entries too large to keep"
    ),
    MetricDefinition("embedder_cache_entries", Kind.GAUGE, "entries", "entries held now"),
    MetricDefinition("embedder_cache_bytes", Kind.GAUGE, "bytes", "bytes that the entries take"),
    MetricDefinition(
        "embedder_cache_max_bytes", Kind.GAUGE, "max_bytes", "bytes that they may take"
    ),
)
"""What every cache counts, the shards and the one inside each ingress."""

CACHE_STORE = (
    MetricDefinition(
        "embedder_cache_dirty", Kind.GAUGE, "dirty", "changes not yet written to the store"
    ),
    MetricDefinition(
        "embedder_cache_written", Kind.COUNTER, "written", "entries written to the store"
    ),
    MetricDefinition(
        "embedder_cache_store_failures", Kind.COUNTER, "failures", "writes that the store refused"
    ),
    MetricDefinition(
        "embedder_cache_store_corrupt", Kind.COUNTER, "corrupt", "damaged rows that were dropped"
    ),
    MetricDefinition(
        "embedder_cache_store_set_aside",
        Kind.COUNTER,
        "set_aside",
        "damaged or foreign files that were renamed, and the cache started empty",
    ),
)
"""What a shard that keeps its entries on disk, or in Redis, counts beside."""

SHARED_CACHE = (
    MetricDefinition(
        "embedder_cache_lookup_failures",
        Kind.COUNTER,
        "failures",
        "calls of this ingress to shards that came to nothing in time",
    ),
    MetricDefinition(
        "embedder_cache_circuit_opened",
        Kind.COUNTER,
        "opened",
        "how often a shard failed so often that it was left alone",
    ),
    MetricDefinition(
        "embedder_cache_circuits_open", Kind.GAUGE, "open", "shards that are left alone at present"
    ),
)
"""What an ingress sees of the shards."""

INDEX = (
    MetricDefinition(
        "embedder_index_ready", Kind.GAUGE, "ready", "whether the shard takes reads and writes"
    ),
    MetricDefinition(
        "embedder_index_collections", Kind.GAUGE, "collections", "collections of the shard"
    ),
    MetricDefinition("embedder_index_points", Kind.GAUGE, "points", "points of the shard"),
    MetricDefinition(
        "embedder_index_damaged_snapshots",
        Kind.COUNTER,
        "damaged_snapshots",
        "snapshots that were set aside, and made again from the truth",
    ),
    MetricDefinition(
        "embedder_index_save_failures", Kind.COUNTER, "save_failures", "snapshots not written"
    ),
    MetricDefinition(
        "embedder_index_recovery_s", Kind.GAUGE, "recovery_s", "what the last start took"
    ),
    MetricDefinition(
        "embedder_index_replayed", Kind.GAUGE, "replayed", "points read anew by the last start"
    ),
)
"""What every shard of the index tells."""

QUEUES = (
    MetricDefinition(
        "embedder_queue_waiting",
        Kind.GAUGE,
        "waiting",
        "admitted work that has not started, by `queue`",
        "queue",
    ),
    MetricDefinition(
        "embedder_queue_running", Kind.GAUGE, "running", "work that runs, by `queue`", "queue"
    ),
    MetricDefinition(
        "embedder_queue_refused",
        Kind.COUNTER,
        "refused",
        "work that would have waited too long, by `queue`",
        "queue",
    ),
)
"""What an ingress, a tokenizer and a shard of the index tell of each queue."""

CATALOGUE: tuple[MetricDefinition, ...] = (*CACHE, *CACHE_STORE, *SHARED_CACHE, *INDEX, *QUEUES)


class MetricPublisher:
    """Some metrics of this replica; nothing is published where Ray does not run."""

    def __init__(self, rows: Sequence[MetricDefinition]) -> None:
        self._rows = rows
        self._instruments: dict[str, metrics.Counter | metrics.Gauge] = {}
        self._counted: dict[tuple[str, str], float] = {}

    def publish_queues(self, queues: Iterable[QueueStats]) -> None:
        """Take over the numbers of each queue, with its name as label."""
        for one in queues:
            self.publish(asdict(one), one.name)

    def publish(self, numbers: Mapping[str, object], label: str = "") -> None:
        """Take over these numbers, by the names of their sources; others are left out.

        ``label`` is the value of the metrics' own label.
        """
        if not ray.is_initialized():
            return
        for row in self._rows:
            number = numbers.get(row.source)
            if isinstance(number, (int, float)):
                self._record(row, float(number), label)

    def _record(self, row: MetricDefinition, number: float, label: str) -> None:
        instrument = self._instruments.get(row.name)
        if instrument is None:
            kind = metrics.Counter if row.kind is Kind.COUNTER else metrics.Gauge
            instrument = self._instruments[row.name] = kind(
                row.name, description=row.description, tag_keys=(row.label,) if row.label else None
            )
        tags = {row.label: label} if row.label else {}
        if isinstance(instrument, metrics.Gauge):
            instrument.set(number, tags)
            return
        # A counter of Ray takes what has come since; nothing is no number that it accepts.
        counted = (row.name, label)
        since = number - self._counted.get(counted, 0.0)
        if since > 0:
            instrument.inc(since, tags)
            self._counted[counted] = number
