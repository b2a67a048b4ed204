"""A burst of calls in simulated time is as fast as the same calls in a stream."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from embedder.core.errors import Overloaded
from tests.unit.pipeline.simulated_stages import Request
from tests.unit.pipeline.simulation import Simulation

RATE = 3500.0
"""Tokens per second of a machine with two slow cores."""

Client = Callable[[Request, Overloaded], float | None]


def openai(request: Request, error: Overloaded) -> float | None:
    """Retry twice, after the milliseconds that the refusal states."""
    return error.retry_after_s if request.tries <= 2 else None


def plain(request: Request, error: Overloaded) -> float | None:
    """Retry twice, after the whole seconds that the refusal states."""
    return error.whole_s if request.tries <= 2 else None


def gives_up(request: Request, error: Overloaded) -> float | None:
    """Never retry."""
    return None


def measured(client: Client) -> Simulation:
    """Return a simulation that has measured its rate, with an empty queue."""
    simulation = Simulation(rate=RATE, retry_after=client)
    simulation.load(3.0, 0.0, 3.0)
    simulation.run(300.0)
    simulation.refusals.clear()
    return simulation


def seconds(client: Client, concurrency: int, *, texts: int, tokens: int, calls: int) -> float:
    """Return the duration of all calls, which all succeed."""
    simulation = measured(client)
    made = simulation.call(calls, concurrency, tokens, inputs=texts)
    simulation.run(900.0)
    ends = [one.ended_s for one in made if one.ended_s is not None]

    assert len(ends) == calls
    return max(ends) - 300.0


@pytest.mark.parametrize(
    ("client", "texts", "tokens", "calls", "most"),
    [
        (openai, 64, 640, 50, 1.05),
        (openai, 1, 10, 400, 1.05),
        (openai, 1, 512, 50, 1.05),
        (openai, 8, 80, 200, 1.05),
        (plain, 64, 640, 50, 1.05),
        (plain, 1, 512, 50, 1.35),
        (plain, 8, 80, 200, 1.5),
        (gives_up, 64, 640, 50, 1.05),
    ],
)
def test_a_burst_is_as_fast_as_a_stream_and_no_request_fails(
    client: Client, texts: int, tokens: int, calls: int, most: float
) -> None:
    stream = seconds(client, 4, texts=texts, tokens=tokens, calls=calls)
    burst = seconds(client, calls, texts=texts, tokens=tokens, calls=calls)

    assert burst <= most * stream


@pytest.mark.parametrize("client", [openai, plain, gives_up])
def test_the_last_refusal_states_the_time_of_all_the_work(client: Client) -> None:
    simulation = measured(client)
    simulation.call(50, 50, 512, inputs=1)
    simulation.run(300.0)

    assert len(simulation.refusals) >= 30
    assert simulation.refusals == sorted(simulation.refusals)
    assert max(simulation.refusals) == pytest.approx(50 * 512 / RATE, rel=0.25)


def test_single_requests_wait_no_longer_beside_a_burst_of_many_texts() -> None:
    simulation = measured(openai)
    begun = len(simulation.requests)
    simulation.load(0.4, 300.0, 340.0)
    simulation.call(50, 50, 640, inputs=64)
    simulation.run(900.0)
    singles = [one for one in simulation.requests[begun:] if one.inputs == 1]

    assert all(one.admitted_at is not None for one in singles)
    assert sorted(one.wait_s for one in singles)[int(0.99 * len(singles))] <= 1.0
