"""Several ingresses together admit what the devices can do, and clients return to any of them."""

from __future__ import annotations

from functools import cache
from itertools import cycle

import pytest

from embedder.core.errors import Overloaded
from embedder.pipeline.reservations import MAX_RETRY_AFTER_S
from tests.unit.examples import TIMES
from tests.unit.pipeline.simulated_stages import Ingress, Request
from tests.unit.pipeline.simulation import Simulation
from tests.unit.pipeline.test_bursts import RATE, Client, gives_up, openai, plain
from tests.unit.pipeline.test_simulation import never, once

COUNTS = [2, 8] if TIMES > 1 else [8]
"""The numbers of ingresses at which a burst arrives; with 2 by `make faults` only."""

BEGIN, END = 5.0, 20.0
"""Seconds of overload."""

SENDING_S = 0.002
"""Seconds between two calls of a burst: a client of one core sends some 500 a second."""


def overloaded(ingresses: int, *, devices: int = 1, client: Client = once) -> Simulation:
    """Return a simulation with three times the load of the devices from `BEGIN` to `END`."""
    simulation = Simulation(
        rate=10_000.0 / devices,
        device_count=devices,
        ingress_count=ingresses,
        retry_after=client,
    )
    simulation.load(0.8, 0.0, BEGIN)
    simulation.load(3.0, BEGIN, END)
    return simulation


def complete(simulation: Simulation) -> None:
    """Run until the last client has returned."""
    simulation.run(END + 2 * MAX_RETRY_AFTER_S)


@cache
def completed(ingresses: int, devices: int) -> Simulation:
    """Return the simulation in which all clients return once, in time."""
    simulation = overloaded(ingresses, devices=devices)
    complete(simulation)
    return simulation


def share_of_returns(simulation: Simulation) -> float:
    """Return the share of the returning requests that were admitted then."""
    returned, admitted = simulation.returns()
    assert returned > 2500
    return admitted / returned


@pytest.mark.parametrize(("ingresses", "devices"), [(2, 1), (4, 1), (8, 8)])
def test_overload_is_admitted_as_by_one_ingress(ingresses: int, devices: int) -> None:
    simulation = completed(ingresses, devices)

    assert share_of_returns(simulation) >= 0.93
    assert simulation.goodput(BEGIN + 1, END) >= 0.95
    # Replicas serve one call of each ingress in turn, which admission cannot shorten.
    assert simulation.wait_s(0.99, BEGIN, END) <= 1.2


@pytest.mark.parametrize("ingresses", [8])
def test_waits_are_short_if_no_client_returns(ingresses: int) -> None:
    simulation = overloaded(ingresses, client=never)
    simulation.run(END + 10)

    assert simulation.goodput(BEGIN + 1, END) >= 0.95
    assert simulation.wait_s(0.99, BEGIN, END) <= 0.8


@pytest.mark.parametrize("ingresses", [2, 4])
def test_a_client_that_returns_to_another_ingress_is_admitted(ingresses: int) -> None:
    simulation = overloaded(ingresses)
    refused: dict[Request, Ingress] = {}

    def elsewhere(request: Request) -> Ingress:
        others = [one for one in simulation.all if one is not refused.get(request)]
        refused[request] = simulation.balanced(others)
        return refused[request]

    simulation.choose = elsewhere
    complete(simulation)

    assert share_of_returns(simulation) >= 0.93


def test_without_the_exchange_most_clients_that_return_are_refused_again() -> None:
    simulation = overloaded(4)
    simulation.exchange = False
    complete(simulation)

    assert share_of_returns(simulation) <= 0.5


def test_no_reservation_is_left_when_the_load_has_ended() -> None:
    simulation = completed(8, 8)

    for ingress in simulation.all:
        stats = ingress.admission.stats
        assert stats.reserved_tokens == 0
        assert set(stats.queued_tokens.values()) == {0}
        assert ingress.admission._policy.reservations.count == 0


@cache
def burst(ingresses: int, client: Client, calls: int, tokens: int, texts: int) -> Simulation:
    """Return a burst at ingresses that have each measured the whole rate alone before."""
    simulation = Simulation(rate=RATE, ingress_count=ingresses, retry_after=client)
    alone = cycle(simulation.all)
    for number in range(ingresses):
        simulation.at(30.0 * number, lambda: simulation.send_to(next(alone)))
        simulation.load(3.0, 30.0 * number, 30.0 * number + 3.0)
    simulation.run(300.0)
    simulation.choose = None
    simulation.refusals.clear()
    simulation.requests.clear()
    for number in range(calls):
        simulation.arrive(300.0 + SENDING_S * number, tokens, inputs=texts)
    simulation.run(900.0)
    return simulation


def seconds(simulation: Simulation) -> float:
    """Return the duration of the burst, whose calls all succeed."""
    ends = [one.ended_s for one in simulation.requests if one.ended_s is not None]
    assert len(ends) == len(simulation.requests)
    return max(ends) - 300.0


@pytest.mark.parametrize("client", [openai, plain])
@pytest.mark.parametrize("ingresses", COUNTS)
@pytest.mark.parametrize(
    ("calls", "tokens", "texts"), [(50, 640, 64), (200, 640, 64), (50, 512, 1), (200, 80, 8)]
)
def test_a_burst_takes_no_longer_than_at_one_ingress(
    client: Client, ingresses: int, calls: int, tokens: int, texts: int
) -> None:
    one = seconds(burst(1, client, calls, tokens, texts))

    assert seconds(burst(ingresses, client, calls, tokens, texts)) <= 1.15 * one


@pytest.mark.parametrize("ingresses", COUNTS)
@pytest.mark.parametrize(("calls", "tokens", "texts"), [(200, 640, 64), (50, 512, 1), (200, 80, 8)])
def test_idle_ingresses_admit_no_more_of_a_burst_than_one(
    ingresses: int, calls: int, tokens: int, texts: int
) -> None:
    admitted = [
        sum(one.ended_s is not None for one in burst(n, gives_up, calls, tokens, texts).requests)
        for n in (1, ingresses)
    ]

    # Every ingress admits at least one request, and a request more than fits.
    assert admitted[1] <= 1.3 * admitted[0] + ingresses


@pytest.mark.parametrize("devices", [2, 8])
def test_ingresses_follow_a_change_of_the_number_of_devices(devices: int) -> None:
    simulation = Simulation(rate=2500.0, device_count=4, ingress_count=4, retry_after=once)
    simulation.load(3.0, 0.0, 20.0)
    simulation.devices_at(10.0, devices)
    simulation.run(20.0 + 4 * MAX_RETRY_AFTER_S)

    # A lost device leaves more promised than can be done, so some clients are refused again.
    assert simulation.goodput(13.0, 20.0) >= 0.95
    assert simulation.wait_s(0.99, 13.0, 20.0) <= 3.0
    totals = [ingress.admission._rate.total_per_s for ingress in simulation.all]
    assert totals == pytest.approx(4 * [2500.0 * devices], rel=0.15)


def test_ingresses_that_start_under_load_do_not_admit_too_much() -> None:
    simulation = Simulation(ingress_count=2, retry_after=once)
    simulation.load(3.0, 0.0, 20.0)
    simulation.ingresses_at(10.0, 4)
    simulation.run(20.0 + 2 * MAX_RETRY_AFTER_S)

    assert share_of_returns(simulation) >= 0.93
    assert simulation.goodput(5.0, 20.0) >= 0.95
    assert simulation.wait_s(0.99, 10.0, 20.0) <= 1.8


def test_the_last_refusal_states_the_time_of_the_work_of_all_ingresses() -> None:
    def wait(request: Request, error: Overloaded) -> float | None:
        return None

    simulation = burst(8, wait, 200, 640, 64)

    assert max(simulation.refusals) == pytest.approx(200 * 640 / RATE, rel=0.25)
