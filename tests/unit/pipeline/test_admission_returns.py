"""Refused requests that return: early, in time, late, or when too much is queued."""

from __future__ import annotations

import pytest

from embedder.core.errors import Overloaded
from embedder.core.types import Priority
from embedder.pipeline.admission_control import AdmissionControl, AdmittedTokens
from embedder.pipeline.admission_policy import RETURN_SLACK
from embedder.pipeline.reservations import GRACE_S, MAX_RETRY_AFTER_S
from tests.unit.manual_clock import ManualClock
from tests.unit.pipeline.measured_admission import LIMITS, RATE, ask, measure


def test_a_request_that_returns_in_time_is_admitted_before_new_requests(
    admission: AdmissionControl, clock: ManualClock
) -> None:
    admission.admit([b"a"], 600, Priority.INTERACTIVE)
    retry_after_s = ask(admission, "b")
    clock.now += 1.0

    assert retry_after_s == 1
    assert ask(admission, "c") == 1
    assert isinstance(ask(admission, "b"), AdmittedTokens)
    assert admission.stats.returned == 1
    assert ask(admission, "b") == 1, "a reservation is good for one time"


def test_a_request_that_returns_early_keeps_its_reservation_and_gets_the_remaining_time(
    admission: AdmissionControl, clock: ManualClock
) -> None:
    first = admission.admit([b"a"], 2700, Priority.INTERACTIVE)
    first.resize(2000)
    admission.admit([b"x"], 1, Priority.BULK)
    retry_after_s = ask(admission, "b")
    clock.now += 0.3
    early = [ask(admission, "b") for _ in range(3)]
    clock.now += 1.8
    first.resize(700)

    assert retry_after_s == 2
    assert early == [2, 2, 2]
    assert isinstance(ask(admission, "b"), AdmittedTokens)


def test_a_request_that_returns_early_is_admitted_if_there_is_capacity(
    admission: AdmissionControl, clock: ManualClock
) -> None:
    first = admission.admit([b"a"], 600, Priority.INTERACTIVE)
    ask(admission, "b")
    first.end()

    assert isinstance(ask(admission, "b"), AdmittedTokens)
    assert admission.stats.reserved_tokens == 0


@pytest.mark.parametrize(("late_s", "admitted"), [(GRACE_S, True), (GRACE_S + 0.01, False)])
def test_a_reservation_is_kept_for_its_grace_time(
    admission: AdmissionControl, clock: ManualClock, late_s: float, admitted: bool
) -> None:
    admission.admit([b"a"], 600, Priority.INTERACTIVE)
    ask(admission, "b")
    clock.now += 1.0 + late_s

    assert isinstance(ask(admission, "b"), AdmittedTokens) is admitted


def test_due_requests_go_before_new_ones(admission: AdmissionControl, clock: ManualClock) -> None:
    first = admission.admit([b"a"], 600, Priority.INTERACTIVE)
    for number in range(9):
        ask(admission, f"due {number}", 80)
        clock.now += 0.1
    first.resize(300)

    assert ask(admission, "new request") == 1
    first.end()
    assert isinstance(ask(admission, "new request"), AdmittedTokens), (
        "nothing is queued: no reason to idle"
    )


def test_a_request_that_returns_to_a_long_queue_gets_a_new_reservation(
    admission: AdmissionControl, clock: ManualClock
) -> None:
    """The rate has fallen, or the requests before had more tokens than estimated."""
    first = admission.admit([b"a"], 600, Priority.INTERACTIVE)
    ask(admission, "b")
    clock.now += 1.0
    first.resize(int(RATE * (RETURN_SLACK * LIMITS.max_wait_s + 1)))

    assert ask(admission, "b") == RETURN_SLACK * LIMITS.max_wait_s + 1
    assert admission.stats.reserved_tokens == 10
    assert admission.stats.returned == 0


def test_a_returning_request_is_still_limited_by_tokens(
    admission: AdmissionControl, clock: ManualClock
) -> None:
    measure(admission, clock, 100_000)
    admission.admit([b"a"], 9_995, Priority.INTERACTIVE)
    retry_after_s = ask(admission, "b")
    clock.now += 1.0

    assert retry_after_s == 1
    assert ask(admission, "b") == 1


def test_no_reservation_is_made_beyond_two_minutes(admission: AdmissionControl) -> None:
    admission.admit([b"a"], 9_000, Priority.INTERACTIVE)
    for number in range(12):
        ask(admission, f"large {number}", 9_900)
    booked = admission.stats.reserved_tokens

    assert ask(admission, "b") == MAX_RETRY_AFTER_S
    assert admission.stats.reserved_tokens == booked


def test_a_request_is_identified_by_all_its_keys(
    admission: AdmissionControl, clock: ManualClock
) -> None:
    admission.admit([b"a"], 600, Priority.INTERACTIVE)
    for keys in ([b"b", b"c"], [b"b"], [b"c", b"b"]):
        with pytest.raises(Overloaded):
            admission.admit(keys, 10, Priority.INTERACTIVE)
    clock.now += 1.0

    with pytest.raises(Overloaded):
        admission.admit([b"c"], 10, Priority.INTERACTIVE)
    admission.admit([b"b", b"c"], 10, Priority.INTERACTIVE)
    assert admission.stats.returned == 1
