"""The circuit breaker opens after failures in a row and tries again after a pause."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from embedder.cache.store.circuit_breaker import FAILURES, PAUSE_S, CircuitBreaker, CircuitState
from tests.unit.manual_clock import ManualClock

ERROR = ConnectionError()


def _opened(clock: ManualClock) -> CircuitBreaker:
    circuit = CircuitBreaker("the service", clock=clock)
    for _ in range(FAILURES):
        circuit.failed(ERROR)
    return circuit


def test_failures_that_are_not_in_a_row_change_nothing() -> None:
    circuit = CircuitBreaker("the service")
    for _ in range(10):
        for _ in range(FAILURES - 1):
            circuit.failed(ERROR)
        circuit.succeeded()

    assert circuit.state is CircuitState.CLOSED
    assert circuit.allows_call()
    assert circuit.opened == 0


def test_failures_in_a_row_open_it_once() -> None:
    circuit = _opened(ManualClock(100.0))
    circuit.failed(ERROR)

    assert circuit.state is CircuitState.OPEN
    assert not circuit.allows_call()
    assert circuit.opened == 1


def test_after_the_pause_one_call_is_tried_and_no_other() -> None:
    clock = ManualClock(100.0)
    circuit = _opened(clock)
    clock.now += PAUSE_S

    assert circuit.allows_call()
    assert circuit.state is CircuitState.TRIAL
    assert not circuit.allows_call()


def test_a_trial_that_succeeds_closes_it() -> None:
    clock = ManualClock(100.0)
    circuit = _opened(clock)
    clock.now += PAUSE_S
    circuit.allows_call()
    circuit.succeeded()

    assert circuit.state is CircuitState.CLOSED
    assert circuit.allows_call()


def test_a_trial_that_fails_begins_another_pause() -> None:
    clock = ManualClock(100.0)
    circuit = _opened(clock)
    clock.now += PAUSE_S
    circuit.allows_call()
    circuit.failed(ERROR)
    clock.now += PAUSE_S * 0.9

    assert not circuit.allows_call()
    clock.now += PAUSE_S * 0.2
    assert circuit.allows_call()
    assert circuit.opened == 1


def test_after_an_abandoned_trial_the_next_call_is_the_trial() -> None:
    clock = ManualClock(100.0)
    circuit = _opened(clock)
    clock.now += PAUSE_S
    circuit.allows_call()
    circuit.abandoned()

    assert circuit.allows_call()


@given(st.lists(st.sampled_from(["fail", "succeed", "leave", "wait"]), max_size=60))
def test_after_a_pause_and_a_success_all_calls_pass(
    events: list[str],
) -> None:
    """Whatever happened before."""
    clock = ManualClock(100.0)
    circuit = CircuitBreaker("the service", clock=clock)
    for event in events:
        if event == "wait":
            clock.now += PAUSE_S / 2
        elif circuit.allows_call():
            if event == "fail":
                circuit.failed(ERROR)
            else:
                {"succeed": circuit.succeeded, "leave": circuit.abandoned}[event]()
    clock.now += PAUSE_S
    through = circuit.allows_call()
    circuit.succeeded()

    assert through
    assert circuit.allows_call()
    assert circuit.allows_call()
