"""Statistics that become metrics of Ray."""

from __future__ import annotations

import pytest
from ray.serve import metrics

from deployments.metrics.definition import MetricDefinition, counter, gauge, histogram
from deployments.metrics.publisher import MetricPublisher
from embedder.measurements.histogram import Histogram
from embedder.pipeline.threads import QueueStats

Series = dict[tuple[str, ...], float]

PUBLISHED: dict[str, Series] = {}
"""The value of each series, by the name of its instrument and its label values."""


class Instrument:
    """Stands where an instrument of Ray would."""

    def __init__(self, name: str, description: str, tag_keys: tuple[str] | None) -> None:
        self._series: Series = PUBLISHED.setdefault(name, {})
        self._tag_keys = tag_keys or ()

    def set(self, value: float, tags: dict[str, str]) -> None:
        assert tuple(tags) == self._tag_keys
        self._series[tuple(tags.values())] = value

    def _record(self, value: float, tags: dict[str, str]) -> None:
        assert tuple(tags) == self._tag_keys
        series = tuple(tags.values())
        self._series[series] = self._series.get(series, 0.0) + value


class CounterOfRay(Instrument):
    """Takes increases."""

    def inc(self, value: float, tags: dict[str, str]) -> None:
        assert value > 0, "Ray refuses anything else"
        self._record(value, tags)


class GaugeOfRay(Instrument):
    """Takes values."""


@pytest.fixture(autouse=True)
def _instruments(monkeypatch: pytest.MonkeyPatch) -> None:
    PUBLISHED.clear()
    monkeypatch.setattr(metrics, "Counter", CounterOfRay)
    monkeypatch.setattr(metrics, "Gauge", GaugeOfRay)
    monkeypatch.setattr("ray.is_initialized", lambda: True)


def _publisher(*definitions: MetricDefinition) -> MetricPublisher:
    return MetricPublisher(definitions)


def test_a_counter_adds_the_increase_and_a_gauge_sets_the_value() -> None:
    publisher = _publisher(counter("things", "seen", ""), gauge("held", "held", ""))
    for seen, held in ((3, 5), (3, 4), (10, 0)):
        publisher.publish({"seen": seen, "held": held})

    assert PUBLISHED == {"things": {(): 10}, "held": {(): 0}}


def test_a_counter_exists_before_anything_is_counted() -> None:
    _publisher(counter("things", "seen", "")).publish({"seen": 0})

    assert PUBLISHED == {"things": {(): 0}}


def test_missing_values_and_values_that_are_not_numbers_are_ignored() -> None:
    _publisher(counter("things", "seen", "")).publish({"seen": None, "other": 3})

    assert PUBLISHED == {}


def test_a_counter_never_decreases() -> None:
    """As after a cache was cleared: Prometheus would take the next number for a new process."""
    publisher = _publisher(counter("things", "seen", ""))
    for seen in (5, 2, 6):
        publisher.publish({"seen": seen})

    assert PUBLISHED["things"] == {(): 6}


def test_every_queue_has_a_counter_of_its_own() -> None:
    publisher = _publisher(counter("refused", "refused", "", "queue"))
    for first, second in ((3, 0), (3, 1), (5, 2)):
        publisher.publish_queues([QueueStats("a", 0, 0, first), QueueStats("b", 0, 0, second)])

    assert PUBLISHED["refused"] == {("a",): 5, ("b",): 2}


def test_a_mapping_has_the_values_of_the_labels_that_are_left() -> None:
    publisher = _publisher(
        counter("answers", "answers", "", "route", "status"),
        counter("by_code", "codes", "", "code"),
    )
    publisher.publish({"answers": {("/a", "200"): 2, ("/b", "404"): 1}, "codes": {"gone": 3}})

    assert PUBLISHED["answers"] == {("/a", "200"): 2, ("/b", "404"): 1}
    assert PUBLISHED["by_code"] == {("gone",): 3}


def test_label_values_of_a_call_come_before_those_of_a_mapping() -> None:
    publisher = _publisher(counter("changes", "changes", "", "stage", "direction"))
    publisher.publish({"changes": {"up": 1}}, "Encoder")

    assert PUBLISHED["changes"] == {("Encoder", "up"): 1}


def test_a_histogram_has_cumulative_buckets_its_exact_sum_and_its_count() -> None:
    values = Histogram((0.1, 1.0))
    for value in (0.05, 0.1, 0.7, 3.0):
        values.observe(value)
    _publisher(histogram("wait", "waits", "", "stage")).publish({"waits": {"queue": values}})

    assert PUBLISHED["wait_bucket"] == {
        ("queue", "0.1"): 2,
        ("queue", "1"): 3,
        ("queue", "+Inf"): 4,
    }
    assert PUBLISHED["wait_sum"] == {("queue",): pytest.approx(3.85)}
    assert PUBLISHED["wait_count"] == {("queue",): 4}


def test_a_wrong_number_of_label_values_is_an_error() -> None:
    with pytest.raises(ValueError, match="argument"):
        _publisher(gauge("held", "held", "", "stage")).publish({"held": 1})


def test_without_ray_nothing_is_published(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ray.is_initialized", lambda: False)
    _publisher(gauge("held", "held", "")).publish({"held": 1})

    assert PUBLISHED == {}
