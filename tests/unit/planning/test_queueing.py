"""Waiting times, beside balance equations solved by themselves and a simulation of the queue."""

from __future__ import annotations

import heapq
import random
from itertools import accumulate

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedder.planning.queueing import batch_latency, wait_probability, wait_quantile


def _stationary(servers: int, load: float, states: int) -> list[float]:
    """Return the probabilities of the states of M/M/c from their balance equations."""
    rates = np.zeros((states, states))
    for count in range(states - 1):
        rates[count, count + 1] = load
        rates[count + 1, count] = min(count + 1, servers)
    balance = (rates - np.diag(rates.sum(axis=1))).T
    balance[-1] = 1
    return list(map(float, np.linalg.solve(balance, np.eye(states)[-1])))


@given(servers=st.integers(1, 12), used=st.floats(0.05, 0.8))
def test_the_share_that_waits_solves_the_balance_equations(servers: int, used: float) -> None:
    probabilities = _stationary(servers, used * servers, servers + 150)

    waiting = sum(probabilities[servers:])

    assert wait_probability(servers, used * servers) == pytest.approx(waiting, rel=1e-6)


def test_one_server_with_exponential_times_has_the_published_wait() -> None:
    # M/M/1: P(wait > t) = used * exp(-(1 - used) t / service).
    wait_s = wait_quantile(1, 0.8, 2.0, variability=1.0, exceeded=0.01)

    assert 0.8 * np.exp(-0.2 * wait_s / 2.0) == pytest.approx(0.01)


def test_the_quantile_is_0_where_fewer_wait() -> None:
    assert wait_quantile(50, 1.0, 1.0, variability=1.0, exceeded=0.01) == 0
    assert wait_quantile(3, 0.0, 1.0, variability=1.0, exceeded=0.01) == 0


def test_a_load_of_all_servers_waits_for_ever() -> None:
    assert wait_quantile(2, 2.0, 1.0, variability=1.0, exceeded=0.01) == float("inf")


def _simulated(
    servers: int, rate: float, texts: int, alone_s: float, full_s: float, *, seed: int
) -> float:
    """Return the 99th percentile of the latencies of 10,000 texts, by events."""
    drawn = random.Random(seed)
    arrivals = list(accumulate(drawn.expovariate(rate) for _ in range(10_000)))
    free = [0.0] * servers
    each_s = (full_s - alone_s) / max(1, texts - 1)
    latencies: list[float] = []
    while len(latencies) < len(arrivals):
        first = len(latencies)
        began = max(heapq.heappop(free), arrivals[first])
        batch = [at for at in arrivals[first : first + texts] if at <= began]
        ends = began + alone_s + each_s * (len(batch) - 1)
        latencies += [ends - at for at in batch]
        heapq.heappush(free, ends)
    return sorted(latencies)[len(latencies) * 99 // 100]


@given(
    servers=st.sampled_from([1, 2, 4, 16, 64]),
    texts=st.sampled_from([1, 2, 4, 8, 32]),
    growth=st.floats(0.01, 0.9),
    used=st.floats(0.1, 0.7),
    seed=st.integers(0, 100),
)
def test_no_simulated_queue_of_batches_is_much_slower(
    servers: int, texts: int, growth: float, used: float, seed: int
) -> None:
    full_s = 1 + growth * (texts - 1)
    rate = used * servers * texts / full_s

    predicted_s = batch_latency(servers, rate, texts, 1.0, full_s, exceeded=0.01)

    simulated_s = _simulated(servers, rate, texts, 1.0, full_s, seed=seed)
    assert simulated_s <= 1.2 * predicted_s
    # The bound is that of full batches: two of them, where hardly any waits behind more.
    assert predicted_s <= max(2.2 * full_s + 5 / servers / (1 - used), 1.5 * simulated_s)


def test_few_texts_that_wait_leave_a_text_alone() -> None:
    assert batch_latency(20, 1.0, 8, 1.0, 4.0, exceeded=0.01) == 1.0
