"""The number of values of a label is bounded."""

from __future__ import annotations

from deployments.metrics.labels import MAX_VALUES, OTHER, BoundedLabel


def test_values_up_to_the_limit_are_labels_and_one_more_is_other() -> None:
    label = BoundedLabel()
    values = [f"model {number}" for number in range(MAX_VALUES)]

    assert [label[value] for value in values] == values
    assert label["one more"] == OTHER
    assert label[values[0]] == values[0]
    assert len(label) == MAX_VALUES
