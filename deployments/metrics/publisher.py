"""The publication of a replica's statistics as metrics of Ray.

On every node Ray exports the metrics for Prometheus, with the prefix `ray_` and the replica as a
label. A replica publishes its statistics every few seconds, so a request calls nothing of Ray: Ray
forgets a gauge that is not published for twenty seconds.

A histogram is published as the gauges of its buckets, its sum and its count, with the names that
Prometheus expects. Ray's own histogram would cost each observation a call, in the replica and once
more on its node, and would replace every value by the middle of its bucket, so that sums are wrong.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import cast

import ray
from ray.serve import metrics

from deployments.metrics.definition import Kind, MetricDefinition
from embedder.measurements.histogram import Histogram
from embedder.pipeline.threads import QueueStats

Labels = tuple[str, ...]


class MetricPublisher:
    """Publishes some metrics of this replica; does nothing if Ray does not run."""

    def __init__(self, definitions: Sequence[MetricDefinition]) -> None:
        self._definitions = definitions
        self._instruments: dict[str, metrics.Counter | metrics.Gauge] = {}
        self._counted: dict[tuple[str, Labels], float] = {}

    def publish_queues(self, queues: Iterable[QueueStats]) -> None:
        """Publish the numbers of each queue, with its name as label."""
        for queue in queues:
            self.publish(asdict(queue), queue.name)

    def publish(self, numbers: Mapping[str, object], *labels: str) -> None:
        """Publish the numbers whose keys are sources of the metrics, and ignore the others.

        ``labels`` are the values of the first labels of each metric. For the other labels, the
        value of a source is a mapping from their values, a tuple if they are several.
        """
        if not ray.is_initialized():
            return
        for definition in self._definitions:
            for values, number in _series(numbers.get(definition.source), labels):
                self._publish(definition, values, number)

    def _publish(
        self, definition: MetricDefinition, values: Labels, number: float | Histogram
    ) -> None:
        name, labels = definition.name, definition.labels
        if isinstance(number, Histogram):
            for boundary, count in number.cumulative():
                self._set(definition, f"{name}_bucket", (*labels, "le"), (*values, boundary), count)
            self._set(definition, f"{name}_sum", labels, values, number.sum)
            self._set(definition, f"{name}_count", labels, values, number.count)
        elif definition.kind is Kind.GAUGE:
            self._set(definition, name, labels, values, number)
        else:
            self._count(definition, values, number)

    def _set(
        self, definition: MetricDefinition, name: str, labels: Labels, values: Labels, number: float
    ) -> None:
        gauge = self._instruments.get(name)
        if gauge is None:
            gauge = metrics.Gauge(name, definition.description, cast("tuple[str]", labels))
            self._instruments[name] = gauge
        assert isinstance(gauge, metrics.Gauge)
        gauge.set(number, dict(zip(labels, values, strict=True)))

    def _count(self, definition: MetricDefinition, values: Labels, number: float) -> None:
        """Add the increase: a counter of Ray takes no total."""
        counter = self._instruments.get(definition.name)
        if counter is None:
            labels = cast("tuple[str]", definition.labels)  # as Ray declares a tuple of any length
            counter = metrics.Counter(definition.name, definition.description, labels)
            self._instruments[definition.name] = counter
        tags = dict(zip(definition.labels, values, strict=True))
        key = (definition.name, values)
        if key not in self._counted:
            self._counted[key] = 0.0
            # The method for an increase refuses 0, but the series is to exist from the start.
            counter._record(0.0, tags)
        increase = number - self._counted[key]
        if increase > 0:
            assert isinstance(counter, metrics.Counter)
            counter.inc(increase, tags)
            self._counted[key] = number


def _series(number: object, labels: Labels) -> Iterator[tuple[Labels, float | Histogram]]:
    """Yield the label values and the number of each series; nothing for what is no number."""
    if isinstance(number, Mapping):
        for key, one in number.items():
            values = map(str, key if isinstance(key, tuple) else (key,))
            yield from _series(one, (*labels, *values))
    elif isinstance(number, (int, float, Histogram)):
        yield labels, number
