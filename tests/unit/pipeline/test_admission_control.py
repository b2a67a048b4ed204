"""Who is admitted, who is told to come back, and what an operator sees of it."""

from __future__ import annotations

import pytest

from embedder.core.errors import Overloaded
from embedder.core.types import Priority, Timings
from embedder.pipeline.admission_control import MANY_INPUTS, AdmissionControl, AdmittedTokens
from embedder.pipeline.admission_policy import OWN_TIME_FACTOR, RETURN_SLACK
from embedder.pipeline.reservations import GRACE_S, MAX_RETRY_AFTER_S
from embedder.settings.model import LimitSettings

RATE = 1000
LIMITS = LimitSettings(max_queued_tokens=10_000, max_wait_s=0.5)
WAITED = Timings(queue_s=1.0, inference_s=0.0)


class Clock:
    """Time that passes when a test says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    """Return a clock that stands still."""
    return Clock()


@pytest.fixture
def admission(clock: Clock) -> AdmissionControl:
    """Return admission control that has measured `RATE`, and in which nothing is queued."""
    admission = AdmissionControl(LIMITS, clock=clock)
    measure(admission, clock, RATE)
    return admission


def measure(admission: AdmissionControl, clock: Clock, rate: int) -> None:
    """Let work be done at a rate for long."""
    work = admission.admit([b"measured"], 10**6, Priority.BULK)
    for _ in range(100):
        clock.now += 1.0
        work.computed(rate, WAITED)
    work.end()


def ask(
    admission: AdmissionControl,
    name: str,
    tokens: int = 10,
    priority: Priority = Priority.INTERACTIVE,
) -> AdmittedTokens | float:
    """Return the work of a request, or the whole seconds after which it is to come back."""
    try:
        return admission.admit([name.encode()], tokens, priority)
    except Overloaded as error:
        return error.whole_s


def test_all_is_counted_while_it_waits_and_nothing_once_it_has_ended(
    admission: AdmissionControl,
) -> None:
    works = [
        admission.admit([b"a"], 100, Priority.INTERACTIVE),
        admission.admit([b"b"], 30, Priority.BULK),
    ]
    estimated = admission.stats.queued_tokens
    works[0].resize(80)
    works[1].computed(20, WAITED)
    corrected = admission.stats.queued_tokens
    for work in works:
        work.end()
        work.end()
        work.resize(50)
        work.computed(5, WAITED)

    assert estimated == {Priority.INTERACTIVE: 100, Priority.BULK: 30}
    assert corrected == {Priority.INTERACTIVE: 80, Priority.BULK: 10}
    assert admission.stats.queued_tokens == {Priority.INTERACTIVE: 0, Priority.BULK: 0}


def test_more_computed_than_was_estimated_takes_off_no_more_than_was_there(
    admission: AdmissionControl,
) -> None:
    work = admission.admit([b"a"], 100, Priority.INTERACTIVE)
    work.computed(150, WAITED)

    assert admission.stats.queued_tokens[Priority.INTERACTIVE] == 0


def test_interactive_work_is_refused_when_it_would_wait_too_long(
    admission: AdmissionControl,
) -> None:
    admission.admit([b"a"], 490, Priority.INTERACTIVE)

    assert isinstance(ask(admission, "b", 20), AdmittedTokens)
    assert ask(admission, "c") == 1
    assert admission.stats.predicted_wait_s == pytest.approx(0.51, rel=0.01)


def test_a_large_request_is_admitted_when_nothing_waits(admission: AdmissionControl) -> None:
    assert isinstance(ask(admission, "a", 10**9), AdmittedTokens)


def test_before_the_rate_is_known_only_the_bound_on_tokens_counts(clock: Clock) -> None:
    admission = AdmissionControl(LIMITS, clock=clock)
    admission.admit([b"a"], 9000, Priority.INTERACTIVE)

    assert isinstance(ask(admission, "b", 1000), AdmittedTokens)
    assert ask(admission, "c", 1) == 1
    assert admission.stats.tokens_per_s is None
    assert admission.stats.booked_tokens == 1


def test_while_little_is_known_of_the_rate_all_are_told_to_come_soon(clock: Clock) -> None:
    admission = AdmissionControl(LIMITS, clock=clock)
    work = admission.admit([b"a"], 5000, Priority.INTERACTIVE)
    clock.now += 0.2
    work.computed(20, Timings(queue_s=0.1, inference_s=0.1))
    clock.now += 0.01
    told = {ask(admission, str(number), 100) for number in range(50)}

    assert admission.stats.tokens_per_s == pytest.approx(100)
    assert told == {1}


def test_bulk_work_is_bound_by_tokens_alone_and_told_when_there_will_be_room(
    admission: AdmissionControl,
) -> None:
    admission.admit([b"a"], 9000, Priority.BULK)

    assert isinstance(ask(admission, "b", 1000, Priority.BULK), AdmittedTokens)
    assert ask(admission, "c", 10, Priority.BULK) == 1
    assert ask(admission, "d", 4990, Priority.BULK) == 5
    assert ask(admission, "e", 10**9, Priority.BULK) == MAX_RETRY_AFTER_S


def test_bulk_work_keeps_no_interactive_work_out(admission: AdmissionControl) -> None:
    admission.admit([b"a"], 10_000, Priority.BULK)

    assert isinstance(ask(admission, "b", 400), AdmittedTokens)
    assert isinstance(ask(admission, "c"), AdmittedTokens)


def test_whoever_comes_back_as_told_is_admitted_though_newcomers_are_not(
    admission: AdmissionControl, clock: Clock
) -> None:
    admission.admit([b"a"], 600, Priority.INTERACTIVE)
    told = ask(admission, "b")
    clock.now += 1.0

    assert told == 1
    assert ask(admission, "c") == 1
    assert isinstance(ask(admission, "b"), AdmittedTokens)
    assert admission.stats.returned == 1
    assert ask(admission, "b") == 1, "a reservation is good for one time"


def test_whoever_comes_too_early_is_told_the_rest_and_keeps_the_booking(
    admission: AdmissionControl, clock: Clock
) -> None:
    first = admission.admit([b"a"], 2700, Priority.INTERACTIVE)
    first.resize(2000)
    admission.admit([b"x"], 1, Priority.BULK)
    told = ask(admission, "b")
    clock.now += 0.3
    early = [ask(admission, "b") for _ in range(3)]
    clock.now += 1.8
    first.resize(700)

    assert told == 2
    assert early == [2, 2, 2]
    assert isinstance(ask(admission, "b"), AdmittedTokens)


def test_whoever_comes_early_and_finds_room_is_let_in(
    admission: AdmissionControl, clock: Clock
) -> None:
    first = admission.admit([b"a"], 600, Priority.INTERACTIVE)
    ask(admission, "b")
    first.end()

    assert isinstance(ask(admission, "b"), AdmittedTokens)
    assert admission.stats.booked_tokens == 0


@pytest.mark.parametrize(("late_s", "admitted"), [(GRACE_S, True), (GRACE_S + 0.01, False)])
def test_a_booking_is_kept_for_a_while(
    admission: AdmissionControl, clock: Clock, late_s: float, admitted: bool
) -> None:
    admission.admit([b"a"], 600, Priority.INTERACTIVE)
    ask(admission, "b")
    clock.now += 1.0 + late_s

    assert isinstance(ask(admission, "b"), AdmittedTokens) is admitted


def test_those_who_are_due_go_before_newcomers(admission: AdmissionControl, clock: Clock) -> None:
    first = admission.admit([b"a"], 600, Priority.INTERACTIVE)
    for number in range(9):
        ask(admission, f"due {number}", 80)
        clock.now += 0.1
    first.resize(300)

    assert ask(admission, "newcomer") == 1
    first.end()
    assert isinstance(ask(admission, "newcomer"), AdmittedTokens), (
        "nothing is queued: no reason to idle"
    )


def test_whoever_comes_back_when_far_too_much_waits_books_anew(
    admission: AdmissionControl, clock: Clock
) -> None:
    """The rate has sunk since, or those before were larger than they looked."""
    first = admission.admit([b"a"], 600, Priority.INTERACTIVE)
    ask(admission, "b")
    clock.now += 1.0
    first.resize(int(RATE * (RETURN_SLACK * LIMITS.max_wait_s + 1)))

    assert ask(admission, "b") == RETURN_SLACK * LIMITS.max_wait_s + 1
    assert admission.stats.booked_tokens == 10
    assert admission.stats.returned == 0


def test_whoever_comes_back_is_still_bound_by_tokens(
    admission: AdmissionControl, clock: Clock
) -> None:
    measure(admission, clock, 100_000)
    admission.admit([b"a"], 9_995, Priority.INTERACTIVE)
    told = ask(admission, "b")
    clock.now += 1.0

    assert told == 1
    assert ask(admission, "b") == 1


def test_beyond_two_minutes_nothing_is_promised(admission: AdmissionControl) -> None:
    admission.admit([b"a"], 9_000, Priority.INTERACTIVE)
    for number in range(12):
        ask(admission, f"large {number}", 9_900)
    booked = admission.stats.booked_tokens

    assert ask(admission, "b") == MAX_RETRY_AFTER_S
    assert admission.stats.booked_tokens == booked


def test_a_request_is_known_by_all_its_keys(admission: AdmissionControl, clock: Clock) -> None:
    admission.admit([b"a"], 600, Priority.INTERACTIVE)
    for keys in ([b"b", b"c"], [b"b"], [b"c", b"b"]):
        with pytest.raises(Overloaded):
            admission.admit(keys, 10, Priority.INTERACTIVE)
    clock.now += 1.0

    with pytest.raises(Overloaded):
        admission.admit([b"c"], 10, Priority.INTERACTIVE)
    admission.admit([b"b", b"c"], 10, Priority.INTERACTIVE)
    assert admission.stats.returned == 1


def test_an_operator_sees_what_was_decided(admission: AdmissionControl, clock: Clock) -> None:
    before = admission.stats
    admission.admit([b"a"], 600, Priority.INTERACTIVE)
    ask(admission, "b", 25)
    ask(admission, "c", 35)
    stats = admission.stats
    clock.now += 1.0 + 2 * GRACE_S

    assert (stats.admitted - before.admitted, stats.refused, stats.returned) == (1, 2, 0)
    assert stats.tokens_per_s == pytest.approx(RATE)
    assert stats.booked_tokens == 60
    assert admission.stats.booked_tokens == 0


def test_without_limits_everything_is_admitted(clock: Clock) -> None:
    admission = AdmissionControl(clock=clock)
    measure(admission, clock, 1)

    assert all(
        isinstance(ask(admission, str(number), 10**6), AdmittedTokens) for number in range(100)
    )


def test_a_large_request_may_wait_for_as_long_as_its_own_size_is_worth(
    admission: AdmissionControl,
) -> None:
    """A few clients with large requests take turns, and nobody sends them away for that."""
    admission.admit([b"a"], 1000, Priority.INTERACTIVE)

    assert isinstance(ask(admission, "large", int(1000 / OWN_TIME_FACTOR) + 1), AdmittedTokens)
    assert not isinstance(ask(admission, "small", 10), AdmittedTokens)


def test_a_request_of_many_inputs_may_wait_longer(admission: AdmissionControl) -> None:
    admission.admit([b"a"], 5000, Priority.INTERACTIVE)
    few, many = [b"few"] * (MANY_INPUTS - 1), [b"many"] * MANY_INPUTS

    with pytest.raises(Overloaded):
        admission.admit(few, 10, Priority.INTERACTIVE)
    admission.admit(many, 4500, Priority.INTERACTIVE)
    assert admission.stats.refused == 1
