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
from tests.unit.pipeline.simulation import Request, Simulation

BEGIN, END = 10.0, 40.0
"""When more comes than can be done."""

ComesBack = Callable[[Request, Overloaded], float | None]


def once(request: Request, error: Overloaded) -> float | None:
    """Come back as told, in whole seconds as most clients do, and then give up."""
    return error.whole_s if request.tries == 1 else None


def never(request: Request, error: Overloaded) -> float | None:
    """Give up at once."""
    return None


def overloaded(comes_back: ComesBack, *, seed: int = 0, rate: float = 10_000.0) -> Simulation:
    """Return a simulation with the load in it."""
    simulation = Simulation(rate=rate, seed=seed, comes_back=comes_back)
    simulation.load(0.8, 0.0, BEGIN)
    simulation.load(3.0, BEGIN, END)
    return simulation


@cache
def obedient(seed: int) -> Simulation:
    """Return what comes of everybody's coming back once, as told."""
    simulation = overloaded(once, seed=seed)
    simulation.run(END + 2 * MAX_RETRY_AFTER_S)
    return simulation


@pytest.fixture(params=[0, 1])
def simulation(request: pytest.FixtureRequest) -> Simulation:
    """Return one of several courses of chance."""
    return obedient(request.param)


def test_nobody_is_refused_while_devices_keep_up() -> None:
    simulation = Simulation()
    simulation.load(0.8, 0.0, 30.0)
    simulation.run(40.0)

    assert simulation.admission.stats.refused == 0
    assert simulation.wait_s(0.99) < 0.25


def test_who_comes_back_as_told_is_admitted_though_newcomers_keep_coming(
    simulation: Simulation,
) -> None:
    returned, admitted = simulation.returns()

    assert returned > 5000
    assert admitted / returned >= 0.95


def test_the_wait_stays_short_under_three_times_the_load(simulation: Simulation) -> None:
    bound_s = LimitSettings().max_wait_s

    assert simulation.wait_s(0.99, BEGIN + 2) <= bound_s + 0.1, "clients return in whole seconds"
    assert simulation.wait_s(0.99, BEGIN, END) <= bound_s + 0.1, "with the time of finding it out"


def test_the_devices_have_work_all_the_time(simulation: Simulation) -> None:
    assert simulation.goodput(BEGIN, END) >= 0.95


def test_nothing_is_left_when_the_load_has_ended(simulation: Simulation) -> None:
    stats = simulation.admission.stats

    assert set(stats.queued_tokens.values()) == {0}
    assert stats.booked_tokens == 0
    assert len(simulation.admission._policy.reservations) == 0


def test_the_measured_rate_is_what_the_devices_can(simulation: Simulation) -> None:
    assert simulation.admission.stats.tokens_per_s == pytest.approx(10_000, rel=0.1)


@pytest.mark.parametrize("seed", [0, 1])
def test_a_cold_start_into_the_overload_ends_well(seed: int) -> None:
    simulation = Simulation(comes_back=once, seed=seed)
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


def test_clients_of_whom_half_come_back_are_admitted() -> None:
    simulation = overloaded(lambda request, error: error.whole_s if request.number % 2 else None)
    simulation.run(END + 2 * MAX_RETRY_AFTER_S)
    returned, admitted = simulation.returns()

    assert admitted / returned >= 0.95
    assert simulation.goodput(BEGIN, END) >= 0.95


def test_clients_that_come_too_early_get_in_when_they_obey() -> None:
    def impatient(request: Request, error: Overloaded) -> float | None:
        return {1: error.whole_s / 2, 2: error.whole_s}.get(request.tries)

    simulation = overloaded(impatient)
    simulation.run(END + 2 * MAX_RETRY_AFTER_S)
    third = [one for one in simulation.requests if one.tries == 3]

    assert len(third) > 5000
    assert sum(one.admitted_at == 3 for one in third) / len(third) >= 0.95
    assert simulation.goodput(BEGIN, END) >= 0.95
    assert simulation.wait_s(0.99, BEGIN + 2) <= 1.0


@pytest.mark.parametrize(("comes_back", "most_s"), [(never, 1.0), (once, 3.5)])
def test_devices_that_get_half_as_fast_are_neither_idle_nor_swamped(
    comes_back: ComesBack, most_s: float
) -> None:
    simulation = overloaded(comes_back)

    def halve() -> None:
        simulation.rate /= 2

    simulation.at(20.0, halve)
    simulation.run(END + 4 * MAX_RETRY_AFTER_S)

    assert simulation.goodput(21.0, END) >= 0.95
    assert simulation.wait_s(0.99, 25.0) <= most_s
    assert set(simulation.admission.stats.queued_tokens.values()) == {0}


def test_a_large_bulk_request_keeps_no_small_ones_waiting() -> None:
    simulation = Simulation(comes_back=once)
    simulation.load(0.6, 0.0, 90.0)
    bulk = simulation.arrive(20.0, 200_000, Priority.BULK)
    simulation.run(120.0)

    assert simulation.admission.stats.refused == 0
    assert simulation.wait_s(0.99, 20.0) <= 0.3
    assert bulk.left == 0


def test_a_large_interactive_request_among_small_ones_is_answered_and_so_are_they() -> None:
    """Devices take work in its order, so whoever comes behind it is told to come back."""
    simulation = Simulation(comes_back=once)
    simulation.load(0.6, 0.0, 90.0)
    large = simulation.arrive(20.0, 200_000)
    simulation.run(90.0 + 2 * MAX_RETRY_AFTER_S)
    returned, admitted = simulation.returns()

    assert large.left == 0
    assert admitted / returned >= 0.95
    assert simulation.wait_s(0.999, 45.0) <= 1.5


def test_several_slow_devices_are_all_kept_busy() -> None:
    """What they compute at once takes longer than anybody may wait, and is no wait."""
    simulation = Simulation(rate=1250.0, devices=8, comes_back=once)
    simulation.load(0.8, 0.0, BEGIN)
    simulation.load(3.0, BEGIN, END)
    simulation.run(END + 2 * MAX_RETRY_AFTER_S)
    returned, admitted = simulation.returns()

    assert simulation.goodput(BEGIN + 1, END) >= 0.95
    assert admitted / returned >= 0.9


def test_who_comes_back_somewhat_late_is_admitted_still() -> None:
    simulation = overloaded(lambda request, error: error.whole_s + GRACE_S / 2)
    simulation.run(END + 4 * MAX_RETRY_AFTER_S)
    returned, admitted = simulation.returns()

    assert admitted / returned >= 0.95
