"""What comes of the rules under load, in simulated time: waits, returns, and work done.

The load is 0.8 of what the devices can for ten seconds, and then three times it for thirty.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import pytest

from embedder.core.errors import Overloaded
from embedder.core.types import Priority
from embedder.pipeline.reservations import GRACE_S, MAX_RETRY_AFTER_S
from embedder.settings.model import LimitSettings
from tests.unit.examples import TIMES
from tests.unit.pipeline.simulated_stages import Request
from tests.unit.pipeline.simulation import Simulation

BEGIN, END = 10.0, 40.0
"""Seconds of overload."""

SEEDS = [0, 1] if TIMES > 1 else [0]
"""Random seeds, of which `make faults` runs both."""

RetryAfter = Callable[[Request, Overloaded], float | None]


def once(request: Request, error: Overloaded) -> float | None:
    """Return once, after the whole seconds that the refusal states."""
    return error.whole_s if request.tries == 1 else None


def never(request: Request, error: Overloaded) -> float | None:
    """Never return."""
    return None


def overloaded(retry_after: RetryAfter, *, seed: int = 0, rate: float = 10_000.0) -> Simulation:
    """Return a simulation with the load scheduled."""
    simulation = Simulation(rate=rate, seed=seed, retry_after=retry_after)
    simulation.load(0.8, 0.0, BEGIN)
    simulation.load(3.0, BEGIN, END)
    return simulation


@cache
def obedient(seed: int) -> Simulation:
    """Return the simulation in which all clients return once, in time."""
    simulation = overloaded(once, seed=seed)
    simulation.run(END + 2 * MAX_RETRY_AFTER_S)
    return simulation


@pytest.fixture(params=SEEDS)
def simulation(request: pytest.FixtureRequest) -> Simulation:
    """Return the simulation of each random seed."""
    return obedient(request.param)


def test_no_request_is_refused_while_devices_keep_up() -> None:
    simulation = Simulation()
    simulation.load(0.8, 0.0, 30.0)
    simulation.run(40.0)

    assert simulation.admission.stats.refused == 0
    assert simulation.wait_s(0.99) < 0.25


def test_requests_that_return_in_time_are_admitted_under_overload(
    simulation: Simulation,
) -> None:
    returned, admitted = simulation.returns()

    assert returned > 5000
    assert admitted / returned >= 0.95


def test_the_wait_stays_short_under_three_times_the_load(simulation: Simulation) -> None:
    bound_s = LimitSettings().max_wait_s

    assert simulation.wait_s(0.99, BEGIN + 2) <= bound_s + 0.1, "clients return in whole seconds"
    assert simulation.wait_s(0.99, BEGIN, END) <= bound_s + 0.1, "with the time of finding it out"


def test_the_devices_are_never_idle(simulation: Simulation) -> None:
    assert simulation.goodput(BEGIN, END) >= 0.95


def test_nothing_is_left_when_the_load_has_ended(simulation: Simulation) -> None:
    stats = simulation.admission.stats

    assert set(stats.queued_tokens.values()) == {0}
    assert stats.reserved_tokens == 0
    assert simulation.admission._policy.reservations.count == 0


def test_the_measured_rate_is_that_of_the_devices(simulation: Simulation) -> None:
    assert simulation.admission.stats.tokens_per_s == pytest.approx(10_000, rel=0.1)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_cold_start_under_overload_recovers(seed: int) -> None:
    simulation = Simulation(retry_after=once, seed=seed)
    simulation.load(3.0, 0.0, 30.0)
    simulation.run(30.0 + 2 * MAX_RETRY_AFTER_S)
    returned, admitted = simulation.returns()

    assert admitted / returned >= 0.95
    assert simulation.goodput(0.0, 30.0) >= 0.9
    assert simulation.wait_s(0.99, 2.0) <= 0.6
    assert simulation.wait_s(1.0) < 1.5


def test_clients_that_never_come_back_leave_no_device_idle() -> None:
    simulation = overloaded(never)
    simulation.run(END + 10)

    assert simulation.goodput(BEGIN, END) >= 0.95
    assert simulation.wait_s(0.99, BEGIN, END) <= 0.7


def test_clients_are_admitted_if_half_of_them_return() -> None:
    simulation = overloaded(lambda request, error: error.whole_s if request.number % 2 else None)
    simulation.run(END + 2 * MAX_RETRY_AFTER_S)
    returned, admitted = simulation.returns()

    assert admitted / returned >= 0.95
    assert simulation.goodput(BEGIN, END) >= 0.95


def test_clients_that_return_too_early_are_admitted_once_they_wait() -> None:
    def impatient(request: Request, error: Overloaded) -> float | None:
        return {1: error.whole_s / 2, 2: error.whole_s}.get(request.tries)

    simulation = overloaded(impatient)
    simulation.run(END + 2 * MAX_RETRY_AFTER_S)
    third = [one for one in simulation.requests if one.tries == 3]

    assert len(third) > 5000
    assert sum(one.admitted_at == 3 for one in third) / len(third) >= 0.95
    assert simulation.goodput(BEGIN, END) >= 0.95
    assert simulation.wait_s(0.99, BEGIN + 2) <= 1.0


@pytest.mark.parametrize(("retry_after", "most_s"), [(never, 1.0), (once, 3.5)])
def test_devices_at_half_speed_are_neither_idle_nor_overloaded(
    retry_after: RetryAfter, most_s: float
) -> None:
    simulation = overloaded(retry_after)

    def halve() -> None:
        simulation.rate /= 2

    simulation.at(20.0, halve)
    simulation.run(END + 4 * MAX_RETRY_AFTER_S)

    assert simulation.goodput(21.0, END) >= 0.95
    assert simulation.wait_s(0.99, 25.0) <= most_s
    assert set(simulation.admission.stats.queued_tokens.values()) == {0}


def test_a_large_bulk_request_does_not_delay_small_requests() -> None:
    simulation = Simulation(retry_after=once)
    simulation.load(0.6, 0.0, 90.0)
    bulk = simulation.arrive(20.0, 200_000, Priority.BULK)
    simulation.run(120.0)

    assert simulation.admission.stats.refused == 0
    assert simulation.wait_s(0.99, 20.0) <= 0.3
    assert bulk.left == 0


def test_a_large_interactive_request_and_small_ones_are_all_answered() -> None:
    """Devices take work in order, so requests behind it are refused with a time to return."""
    simulation = Simulation(retry_after=once)
    simulation.load(0.6, 0.0, 90.0)
    large = simulation.arrive(20.0, 200_000)
    simulation.run(90.0 + 2 * MAX_RETRY_AFTER_S)
    returned, admitted = simulation.returns()

    assert large.left == 0
    assert admitted / returned >= 0.95
    assert simulation.wait_s(0.999, 45.0) <= 1.5


def test_several_slow_devices_are_all_kept_busy() -> None:
    """One batch takes longer than the maximum wait, but does not count as a wait."""
    simulation = Simulation(rate=1250.0, device_count=8, retry_after=once)
    simulation.load(0.8, 0.0, BEGIN)
    simulation.load(3.0, BEGIN, END)
    simulation.run(END + 2 * MAX_RETRY_AFTER_S)
    returned, admitted = simulation.returns()

    assert simulation.goodput(BEGIN + 1, END) >= 0.95
    assert admitted / returned >= 0.9


def test_requests_that_return_somewhat_late_are_admitted() -> None:
    simulation = overloaded(lambda request, error: error.whole_s + GRACE_S / 2)
    simulation.run(END + 4 * MAX_RETRY_AFTER_S)
    returned, admitted = simulation.returns()

    assert admitted / returned >= 0.95
