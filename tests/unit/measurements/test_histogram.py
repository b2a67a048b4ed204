"""Histograms in plain Python."""

from __future__ import annotations

from embedder.measurements.histogram import LOAD_SECONDS, SECONDS, SIZES, TOKENS, Histogram


def test_a_boundary_belongs_to_its_bucket() -> None:
    values = Histogram((1.0, 2.5))
    for value in (1.0, 1.0001, 2.5, 2.6):
        values.observe(value)

    assert list(values.cumulative()) == [("1", 1), ("2.5", 3), ("+Inf", 4)]
    assert values.count == 4
    assert values.sum == 1.0 + 1.0001 + 2.5 + 2.6


def test_it_begins_empty() -> None:
    values = Histogram((1.0,))

    assert list(values.cumulative()) == [("1", 0), ("+Inf", 0)]
    assert (values.count, values.sum) == (0, 0.0)


def test_boundaries_have_distinct_names_that_are_their_values() -> None:
    for boundaries in (SECONDS, LOAD_SECONDS, SIZES, TOKENS):
        names = [name for name, _ in Histogram(boundaries).cumulative()]

        assert [float(name) for name in names[:-1]] == list(boundaries)
