"""The catalogue follows the conventions of Prometheus."""

from __future__ import annotations

import re

from deployments.metrics.catalogue import CATALOGUE
from deployments.metrics.definition import Kind

RESERVED = {"application", "deployment", "replica", "le"}
"""Labels that Serve adds, and the one of a histogram."""


def test_names_are_unique_also_as_series() -> None:
    series = [name for metric in CATALOGUE for name in metric.series]

    assert len(set(series)) == len(series)


def test_every_metric_is_described_and_published() -> None:
    for metric in CATALOGUE:
        assert re.fullmatch(r"embedder_[a-z_]+", metric.name)
        assert metric.description[0].islower() or metric.description[0].isdigit()
        assert not metric.description.endswith(".")
        assert "|" not in metric.description, "it would end a cell of the table"
        assert metric.stages


def test_units_are_base_units_and_the_exporter_adds_total() -> None:
    for metric in CATALOGUE:
        assert not re.search(r"_(s|ms|per_s|kb|mb|percent|total)$", metric.name), metric.name
        assert metric.exported.endswith("_total") == (metric.kind is Kind.COUNTER)


def test_labels_are_not_those_that_are_added() -> None:
    for metric in CATALOGUE:
        assert RESERVED.isdisjoint(metric.labels)
        assert len(set(metric.labels)) == len(metric.labels)


def test_only_histograms_have_boundaries_and_these_ascend() -> None:
    for metric in CATALOGUE:
        assert bool(metric.boundaries) == (metric.kind is Kind.HISTOGRAM)
        assert list(metric.boundaries) == sorted(set(metric.boundaries))
