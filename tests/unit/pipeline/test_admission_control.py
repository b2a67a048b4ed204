"""Who is admitted, who is told to come back, and what an operator sees of it."""

from __future__ import annotations

import pytest

from embedder.core.errors import Overloaded
from embedder.core.types import Priority, Timings
from embedder.pipeline.admission import OWN_TIMES, PATIENCE
from embedder.pipeline.admission_control import MANY_INPUTS, Backlog, Work
from embedder.pipeline.reservations import GRACE_S, HORIZON_S
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
def backlog(clock: Clock) -> Backlog:
    """Return a backlog that has measured `RATE`, and in which nothing is queued."""
    backlog = Backlog(LIMITS, clock=clock)
    measure(backlog, clock, RATE)
    return backlog


def measure(backlog: Backlog, clock: Clock, rate: int) -> None:
    """Let work be done at a rate for long."""
    work = backlog.enter([b"measured"], 10**6, Priority.BULK)
    for _ in range(100):
        clock.now += 1.0
        work.computed(rate, WAITED)
    work.end()


def ask(
    backlog: Backlog, name: str, tokens: int = 10, priority: Priority = Priority.INTERACTIVE
) -> Work | float:
    """Return the work of a request, or the whole seconds after which it is to come back."""
    try:
        return backlog.enter([name.encode()], tokens, priority)
    except Overloaded as error:
        return error.whole_s


def test_all_is_counted_while_it_waits_and_nothing_once_it_has_ended(backlog: Backlog) -> None:
    works = [
        backlog.enter([b"a"], 100, Priority.INTERACTIVE),
        backlog.enter([b"b"], 30, Priority.BULK),
    ]
    estimated = backlog.stats.queued_tokens
    works[0].resize(80)
    works[1].computed(20, WAITED)
    corrected = backlog.stats.queued_tokens
    for work in works:
        work.end()
        work.end()
        work.resize(50)
        work.computed(5, WAITED)

    assert estimated == {Priority.INTERACTIVE: 100, Priority.BULK: 30}
    assert corrected == {Priority.INTERACTIVE: 80, Priority.BULK: 10}
    assert backlog.stats.queued_tokens == {Priority.INTERACTIVE: 0, Priority.BULK: 0}


def test_more_computed_than_was_estimated_takes_off_no_more_than_was_there(
    backlog: Backlog,
) -> None:
    work = backlog.enter([b"a"], 100, Priority.INTERACTIVE)
    work.computed(150, WAITED)

    assert backlog.stats.queued_tokens[Priority.INTERACTIVE] == 0


def test_interactive_work_is_refused_when_it_would_wait_too_long(backlog: Backlog) -> None:
    backlog.enter([b"a"], 490, Priority.INTERACTIVE)

    assert isinstance(ask(backlog, "b", 20), Work)
    assert ask(backlog, "c") == 1
    assert backlog.stats.predicted_wait_s == pytest.approx(0.51, rel=0.01)


def test_a_large_request_is_admitted_when_nothing_waits(backlog: Backlog) -> None:
    assert isinstance(ask(backlog, "a", 10**9), Work)


def test_before_the_rate_is_known_only_the_bound_on_tokens_counts(clock: Clock) -> None:
    backlog = Backlog(LIMITS, clock=clock)
    backlog.enter([b"a"], 9000, Priority.INTERACTIVE)

    assert isinstance(ask(backlog, "b", 1000), Work)
    assert ask(backlog, "c", 1) == 1
    assert backlog.stats.tokens_per_s is None
    assert backlog.stats.booked_tokens == 1


def test_while_little_is_known_of_the_rate_all_are_told_to_come_soon(clock: Clock) -> None:
    backlog = Backlog(LIMITS, clock=clock)
    work = backlog.enter([b"a"], 5000, Priority.INTERACTIVE)
    clock.now += 0.2
    work.computed(20, Timings(queue_s=0.1, inference_s=0.1))
    clock.now += 0.01
    told = {ask(backlog, str(number), 100) for number in range(50)}

    assert backlog.stats.tokens_per_s == pytest.approx(100)
    assert told == {1}


def test_bulk_work_is_bound_by_tokens_alone_and_told_when_there_will_be_room(
    backlog: Backlog,
) -> None:
    backlog.enter([b"a"], 9000, Priority.BULK)

    assert isinstance(ask(backlog, "b", 1000, Priority.BULK), Work)
    assert ask(backlog, "c", 10, Priority.BULK) == 1
    assert ask(backlog, "d", 4990, Priority.BULK) == 5
    assert ask(backlog, "e", 10**9, Priority.BULK) == HORIZON_S


def test_bulk_work_keeps_no_interactive_work_out(backlog: Backlog) -> None:
    backlog.enter([b"a"], 10_000, Priority.BULK)

    assert isinstance(ask(backlog, "b", 400), Work)
    assert isinstance(ask(backlog, "c"), Work)


def test_whoever_comes_back_as_told_is_admitted_though_newcomers_are_not(
    backlog: Backlog, clock: Clock
) -> None:
    backlog.enter([b"a"], 600, Priority.INTERACTIVE)
    told = ask(backlog, "b")
    clock.now += 1.0

    assert told == 1
    assert ask(backlog, "c") == 1
    assert isinstance(ask(backlog, "b"), Work)
    assert backlog.stats.returned == 1
    assert ask(backlog, "b") == 1, "a booking is good for one time"


def test_whoever_comes_too_early_is_told_the_rest_and_keeps_the_booking(
    backlog: Backlog, clock: Clock
) -> None:
    first = backlog.enter([b"a"], 2700, Priority.INTERACTIVE)
    first.resize(2000)
    backlog.enter([b"x"], 1, Priority.BULK)
    told = ask(backlog, "b")
    clock.now += 0.3
    early = [ask(backlog, "b") for _ in range(3)]
    clock.now += 1.8
    first.resize(700)

    assert told == 2
    assert early == [2, 2, 2]
    assert isinstance(ask(backlog, "b"), Work)


def test_whoever_comes_early_and_finds_room_is_let_in(backlog: Backlog, clock: Clock) -> None:
    first = backlog.enter([b"a"], 600, Priority.INTERACTIVE)
    ask(backlog, "b")
    first.end()

    assert isinstance(ask(backlog, "b"), Work)
    assert backlog.stats.booked_tokens == 0


@pytest.mark.parametrize(("late_s", "admitted"), [(GRACE_S, True), (GRACE_S + 0.01, False)])
def test_a_booking_is_kept_for_a_while(
    backlog: Backlog, clock: Clock, late_s: float, admitted: bool
) -> None:
    backlog.enter([b"a"], 600, Priority.INTERACTIVE)
    ask(backlog, "b")
    clock.now += 1.0 + late_s

    assert isinstance(ask(backlog, "b"), Work) is admitted


def test_those_who_are_due_go_before_newcomers(backlog: Backlog, clock: Clock) -> None:
    first = backlog.enter([b"a"], 600, Priority.INTERACTIVE)
    for number in range(9):
        ask(backlog, f"due {number}", 80)
        clock.now += 0.1
    first.resize(300)

    assert ask(backlog, "newcomer") == 1
    first.end()
    assert isinstance(ask(backlog, "newcomer"), Work), "nothing is queued: no reason to idle"


def test_whoever_comes_back_when_far_too_much_waits_books_anew(
    backlog: Backlog, clock: Clock
) -> None:
    """The rate has sunk since, or those before were larger than they looked."""
    first = backlog.enter([b"a"], 600, Priority.INTERACTIVE)
    ask(backlog, "b")
    clock.now += 1.0
    first.resize(int(RATE * (PATIENCE * LIMITS.max_wait_s + 1)))

    assert ask(backlog, "b") == PATIENCE * LIMITS.max_wait_s + 1
    assert backlog.stats.booked_tokens == 10
    assert backlog.stats.returned == 0


def test_whoever_comes_back_is_still_bound_by_tokens(backlog: Backlog, clock: Clock) -> None:
    measure(backlog, clock, 100_000)
    backlog.enter([b"a"], 9_995, Priority.INTERACTIVE)
    told = ask(backlog, "b")
    clock.now += 1.0

    assert told == 1
    assert ask(backlog, "b") == 1


def test_beyond_two_minutes_nothing_is_promised(backlog: Backlog) -> None:
    backlog.enter([b"a"], 9_000, Priority.INTERACTIVE)
    for number in range(12):
        ask(backlog, f"large {number}", 9_900)
    booked = backlog.stats.booked_tokens

    assert ask(backlog, "b") == HORIZON_S
    assert backlog.stats.booked_tokens == booked


def test_a_request_is_known_by_all_its_keys(backlog: Backlog, clock: Clock) -> None:
    backlog.enter([b"a"], 600, Priority.INTERACTIVE)
    for keys in ([b"b", b"c"], [b"b"], [b"c", b"b"]):
        with pytest.raises(Overloaded):
            backlog.enter(keys, 10, Priority.INTERACTIVE)
    clock.now += 1.0

    with pytest.raises(Overloaded):
        backlog.enter([b"c"], 10, Priority.INTERACTIVE)
    backlog.enter([b"b", b"c"], 10, Priority.INTERACTIVE)
    assert backlog.stats.returned == 1


def test_an_operator_sees_what_was_decided(backlog: Backlog, clock: Clock) -> None:
    before = backlog.stats
    backlog.enter([b"a"], 600, Priority.INTERACTIVE)
    ask(backlog, "b", 25)
    ask(backlog, "c", 35)
    stats = backlog.stats
    clock.now += 1.0 + 2 * GRACE_S

    assert (stats.admitted - before.admitted, stats.refused, stats.returned) == (1, 2, 0)
    assert stats.tokens_per_s == pytest.approx(RATE)
    assert stats.booked_tokens == 60
    assert backlog.stats.booked_tokens == 0


def test_without_limits_everything_is_admitted(clock: Clock) -> None:
    backlog = Backlog(clock=clock)
    measure(backlog, clock, 1)

    assert all(isinstance(ask(backlog, str(number), 10**6), Work) for number in range(100))


def test_a_large_request_may_wait_for_as_long_as_its_own_size_is_worth(backlog: Backlog) -> None:
    """A few clients with large requests take turns, and nobody sends them away for that."""
    backlog.enter([b"a"], 1000, Priority.INTERACTIVE)

    assert isinstance(ask(backlog, "large", int(1000 / OWN_TIMES) + 1), Work)
    assert not isinstance(ask(backlog, "small", 10), Work)


def test_a_request_of_many_inputs_may_wait_longer(backlog: Backlog) -> None:
    backlog.enter([b"a"], 5000, Priority.INTERACTIVE)
    few, many = [b"few"] * (MANY_INPUTS - 1), [b"many"] * MANY_INPUTS

    with pytest.raises(Overloaded):
        backlog.enter(few, 10, Priority.INTERACTIVE)
    backlog.enter(many, 4500, Priority.INTERACTIVE)
    assert backlog.stats.refused == 1
