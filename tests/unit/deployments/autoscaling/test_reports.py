"""Counters as increases per second."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.autoscaling.reports import Increases


@given(
    steps=st.lists(st.tuples(st.floats(0.1, 10.0), st.integers(0, 10**9)), min_size=1, max_size=20)
)
def test_the_increases_add_up_to_the_counter(steps: list[tuple[float, int]]) -> None:
    now_s, count, total = 0.0, 0, 0.0
    increases = Increases(lambda: now_s)
    increases.per_second({"a": count})
    for elapsed_s, more in steps:
        now_s += elapsed_s
        count += more
        total += increases.per_second({"a": count})["a"] * elapsed_s

    assert total == pytest.approx(count)


def test_a_counter_that_is_new_or_starts_again_has_not_increased() -> None:
    now_s = 0.0
    increases = Increases(lambda: now_s)
    rates = []
    for counters in ({"a": 10.0}, {"a": 30.0, "b": 99.0}, {"a": 5.0, "b": 100.0}, {"a": 6.0}):
        now_s += 2.0
        rates.append(increases.per_second(counters))

    assert rates == [{"a": 0.0}, {"a": 10.0, "b": 0.0}, {"a": 0.0, "b": 0.5}, {"a": 0.5}]
