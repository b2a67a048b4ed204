"""Batches, the number of requests in flight and the delays, each as a pure function."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedder_client.batches import TokenEstimate, batches
from embedder_client.concurrency import RequestLimit
from embedder_client.retries import LONGEST_S, delay_s

SHORT = {"x-queue-time": "1", "x-inference-time": "10"}
LONG = {"x-queue-time": "90", "x-inference-time": "10"}


@given(
    st.lists(st.text(max_size=60) | st.lists(st.integers(0, 9), max_size=30)), st.integers(1, 40)
)
def test_batches_have_every_input_in_order_within_the_limits(
    items: list[str | list[int]], most: int
) -> None:
    estimate = TokenEstimate()
    found = list(batches(items, estimate, max_tokens=most, max_inputs=3))
    assert [item for batch in found for item in batch] == items
    for batch in found:
        assert 1 <= len(batch) <= 3
        assert len(batch) == 1 or sum(map(estimate.of, batch)) <= most
    for one, after in pairwise(found):
        assert len(one) == 3 or sum(map(estimate.of, one)) + estimate.of(after[0]) > most


def test_the_estimate_of_tokens_follows_the_answers() -> None:
    estimate = TokenEstimate()
    assert estimate.of("x" * 40) == 11
    for _ in range(40):
        estimate.learn(["x" * 40], 40)  # as in a script of one character a token
    assert estimate.of("x" * 40) == pytest.approx(41, abs=0.1)
    estimate.learn([[1, 2, 3]], 3)
    estimate.learn(["x"], 0)
    assert estimate.of("x" * 40) == pytest.approx(41, abs=0.1)
    assert estimate.of([1] * 7) == 8


def test_the_requests_in_flight_grow_by_one_each_round_while_waits_are_short() -> None:
    limit = RequestLimit(6)
    assert limit.value == 4
    for _ in range(5):
        limit.answered(SHORT)
    assert limit.value == 5
    for _ in range(99):
        limit.answered({})
    assert limit.value == 6


def test_long_waits_lower_the_requests_in_flight_and_medium_ones_keep_them() -> None:
    limit = RequestLimit(64)
    for _ in range(3):
        limit.answered({"x-queue-time": "20", "x-inference-time": "10"})
    assert limit.value == 4
    for _ in range(99):
        limit.answered(LONG)
    assert limit.value == 1


def test_refusals_of_one_round_halve_the_requests_in_flight_once() -> None:
    limit = RequestLimit(64)
    for _ in range(200):
        limit.answered(SHORT)
    before, sent = limit.value, limit.round
    for _ in range(before):
        limit.refused(sent)
    assert limit.value == pytest.approx(before / 2, abs=1)
    for _ in range(20):
        limit.refused(limit.round)
    assert limit.value == 1


@given(st.integers(0, 2000), st.floats(0, 1))
def test_delays_without_a_name_double_up_to_a_bound(attempt: int, chance: float) -> None:
    least = min(0.1 * 2.0 ** min(attempt, 50), LONGEST_S)
    assert least <= delay_s(attempt, {}, chance) <= least * 1.25


@given(st.text(max_size=6))
def test_delays_that_are_no_number_are_ignored(value: str) -> None:
    delay = delay_s(0, {"retry-after": value}, 0.0)
    try:
        named = float(value) if value.replace(".", "", 1).isdecimal() and value.isascii() else None
    except ValueError:
        named = None
    assert delay == (0.1 if named is None else named)
