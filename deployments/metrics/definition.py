"""The definition of a metric: its name, kind, labels and meaning."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum

from embedder.measurements.histogram import SECONDS


class Kind(str, Enum):
    """A counter only grows while its process lives; a gauge is a present value."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class MetricDefinition:
    """One metric; ``source`` is the key of its value in the statistics of a replica.

    ``labels`` are in addition to those that Serve adds. ``stages`` are the deployments whose
    replicas publish it, `CONTROLLER` for Serve's controller. ``boundaries`` are those of a
    histogram's buckets.
    """

    name: str
    kind: Kind
    source: str
    description: str
    labels: tuple[str, ...] = ()
    stages: tuple[str, ...] = ()
    boundaries: tuple[float, ...] = ()

    @property
    def exported(self) -> str:
        """Return the name that Prometheus reads: Ray's exporter ends counters in ``_total``.

        The series of a histogram have the endings `HISTOGRAM_ENDINGS` after it.
        """
        return f"ray_{self.name}" + ("_total" if self.kind is Kind.COUNTER else "")

    @property
    def series(self) -> tuple[str, ...]:
        """Return the names of all series that Prometheus reads."""
        if self.kind is not Kind.HISTOGRAM:
            return (self.exported,)
        return tuple(self.exported + ending for ending in HISTOGRAM_ENDINGS)


INGRESS, TOKENIZER, ENCODER = "Ingress", "Tokenizer", "Encoder"
CACHE, INDEX, CONTROLLER = "EmbeddingCache", "VectorIndex", "controller"

HISTOGRAM_ENDINGS = ("_bucket", "_sum", "_count")
"""``_bucket`` has the label ``le``: the number of observations of at most so much."""


def counter(name: str, source: str, description: str, *labels: str) -> MetricDefinition:
    """Define a counter, which has a source of the same unit."""
    return MetricDefinition(name, Kind.COUNTER, source, description, labels)


def gauge(name: str, source: str, description: str, *labels: str) -> MetricDefinition:
    """Define a gauge."""
    return MetricDefinition(name, Kind.GAUGE, source, description, labels)


def histogram(
    name: str,
    source: str,
    description: str,
    *labels: str,
    boundaries: Sequence[float] = SECONDS,
) -> MetricDefinition:
    """Define a histogram, whose source is an `embedder.measurements.histogram.Histogram`."""
    return MetricDefinition(
        name, Kind.HISTOGRAM, source, description, labels, boundaries=tuple(boundaries)
    )


def published_by(
    stages: str | tuple[str, ...], *metrics: MetricDefinition
) -> tuple[MetricDefinition, ...]:
    """Return the definitions of metrics that the replicas of these stages publish."""
    of = (stages,) if isinstance(stages, str) else stages
    return tuple(replace(metric, stages=of) for metric in metrics)
