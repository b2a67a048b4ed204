"""Predicted times equal operations over speeds, computed by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedder.planning.machine import Speed
from embedder.planning.prediction import (
    CALL_S,
    EFFICIENCY,
    LAYER_S,
    SCALING,
    TEXT_S,
    Choice,
    batch_seconds,
    predict,
)
from tests.unit.planning.models import MODEL, USUAL

SPEED = Speed("float32", 1, 1e11, 1e-10)


def test_a_batch_takes_its_operations_and_the_reads_of_all_matrices() -> None:
    products = 512 * 2 * 10_000_000
    attention = 512 * 4 * 64 * 384 * 6

    expected = 6 * LAYER_S + (1e-3 + (products + attention) / 1e11) / EFFICIENCY["float32"]

    assert batch_seconds(MODEL.size, SPEED, 512, 64) == pytest.approx(expected)


def test_more_threads_lose_a_share_of_their_speed() -> None:
    alone = batch_seconds(MODEL.size, SPEED, 512, 64) - 6 * LAYER_S
    twice = batch_seconds(MODEL.size, replace(SPEED, threads=4), 512, 64) - 6 * LAYER_S

    assert twice == pytest.approx(alone / SCALING**2)


def _choice(tokens: int) -> Choice:
    return Choice("float32", SPEED, tokens)


def test_a_text_waits_for_one_batch_and_is_computed_in_the_next() -> None:
    found = predict(MODEL, USUAL, _choice(640), tokens_per_text=64)

    batch_s = batch_seconds(MODEL.size, SPEED, 640, 64)
    alone_s = batch_seconds(MODEL.size, SPEED, 64, 64)
    assert found.latency_ms == pytest.approx(1e3 * (2 * batch_s + CALL_S + 10 * TEXT_S))
    assert found.alone_ms == pytest.approx(1e3 * (2 * alone_s + CALL_S + TEXT_S))
    assert found.texts_per_s == pytest.approx(10 / (batch_s + 10 * TEXT_S))


def test_a_text_longer_than_the_budget_is_a_batch_by_itself() -> None:
    assert predict(MODEL, USUAL, _choice(10), tokens_per_text=64) == predict(
        MODEL, USUAL, _choice(64), tokens_per_text=64
    )


def test_memory_is_that_of_the_longest_input_if_the_budget_is_smaller() -> None:
    longer = replace(MODEL, longest=100_000)

    small, large = (predict(longer, USUAL, _choice(one), tokens_per_text=8) for one in (64, 2048))

    assert small.memory_bytes == large.memory_bytes


@given(tokens=st.integers(64, 10**5), more=st.integers(1, 10**5), cache=st.integers(0, 10**9))
def test_larger_batches_are_slower_with_more_throughput(tokens: int, more: int, cache: int) -> None:
    small = predict(MODEL, USUAL, _choice(tokens), tokens_per_text=64)
    large = predict(MODEL, USUAL, _choice(tokens + more), tokens_per_text=64, cache=cache)

    assert large.latency_ms > small.latency_ms
    assert large.texts_per_s > small.texts_per_s * (1 - 1e-12)
    assert large.memory_bytes >= small.memory_bytes + cache
