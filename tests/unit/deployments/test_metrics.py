"""The metric catalogue, and counters that become metrics of Ray."""

from __future__ import annotations

import re
from typing import Any

import pytest
from ray.serve import metrics

from deployments.metrics import CATALOGUE, Kind, MetricDefinition, MetricPublisher
from embedder.pipeline.threads import QueueStats

ROWS = (
    MetricDefinition("things", Kind.COUNTER, "seen", "things that were seen"),
    MetricDefinition("held", Kind.GAUGE, "held", "things that are held"),
)
TAGGED = (MetricDefinition("refused", Kind.COUNTER, "refused", "by queue", "queue"),)


class Instrument:
    """Stands where an instrument of Ray would, and adds up."""

    def __init__(self, name: str, description: str, tag_keys: tuple[str] | None) -> None:
        self.value = 0.0
        self.tagged: dict[str, float] = {}
        self._tag_keys = tag_keys

    def inc(self, value: float, tags: dict[str, str]) -> None:
        assert value > 0, "Ray refuses anything else"
        assert tuple(tags) == (self._tag_keys or ())
        self.value += value
        for tag in tags.values():
            self.tagged[tag] = self.tagged.get(tag, 0.0) + value

    def set(self, value: float, tags: dict[str, str]) -> None:
        assert tuple(tags) == (self._tag_keys or ())
        self.value = value


class CounterOfRay(Instrument):
    """Told apart from a gauge by its class."""


class GaugeOfRay(Instrument):
    """Told apart from a counter by its class."""


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch) -> MetricPublisher:
    """Return metrics whose instruments are at hand."""
    monkeypatch.setattr(metrics, "Counter", CounterOfRay)
    monkeypatch.setattr(metrics, "Gauge", GaugeOfRay)
    monkeypatch.setattr("ray.is_initialized", lambda: True)
    return MetricPublisher(ROWS)


def _values(published: MetricPublisher) -> dict[str, float]:
    instruments: dict[str, Any] = published._instruments
    return {name: one.value for name, one in instruments.items()}


def test_a_counter_adds_the_increase_and_a_gauge_sets_the_value(
    published: MetricPublisher,
) -> None:
    for seen, held in ((3, 5), (3, 4), (10, 0)):
        published.publish({"seen": seen, "held": held})

    assert _values(published) == {"things": 10, "held": 0}


def test_missing_values_and_values_that_are_not_numbers_are_ignored(
    published: MetricPublisher,
) -> None:
    published.publish({"seen": None, "other": 3})

    assert _values(published) == {}


def test_a_counter_never_decreases(published: MetricPublisher) -> None:
    """As after a cache was cleared: Prometheus would take the next number for a new process."""
    for seen in (5, 2, 6):
        published.publish({"seen": seen})

    assert _values(published) == {"things": 6}


def test_every_queue_has_a_counter_of_its_own(published: MetricPublisher) -> None:
    queues = MetricPublisher(TAGGED)
    for first, second in ((3, 0), (3, 1), (5, 2)):
        queues.publish_queues([QueueStats("a", 0, 0, first), QueueStats("b", 0, 0, second)])
    instruments: dict[str, Any] = queues._instruments

    assert instruments["refused"].tagged == {"a": 5, "b": 2}


def test_without_ray_nothing_is_published() -> None:
    published = MetricPublisher(ROWS)
    published.publish({"seen": 1})

    assert _values(published) == {}


def test_the_catalogue_has_unique_names_and_descriptions() -> None:
    names = [row.name for row in CATALOGUE]

    assert len(set(names)) == len(names)
    for row in CATALOGUE:
        assert re.fullmatch(r"embedder_[a-z_]+", row.name)
        assert row.description[0].islower()
        assert not row.description.endswith(".")
