"""Requests that are admitted or refused, and the statistics of these decisions."""

from __future__ import annotations

import pytest

from embedder.core.errors import Overloaded
from embedder.core.types import Priority, Timings
from embedder.pipeline.admission_control import MANY_INPUTS, AdmissionControl, AdmittedTokens
from embedder.pipeline.admission_policy import OWN_TIME_FACTOR
from embedder.pipeline.reservations import GRACE_S, MAX_RETRY_AFTER_S
from tests.unit.manual_clock import ManualClock
from tests.unit.pipeline.measured_admission import LIMITS, RATE, WAITED, ask, measure


def test_tokens_count_while_they_are_queued_and_not_after_the_end(
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


def test_more_computed_tokens_than_estimated_leave_none_queued(
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


def test_a_large_request_is_admitted_when_nothing_is_queued(admission: AdmissionControl) -> None:
    assert isinstance(ask(admission, "a", 10**9), AdmittedTokens)


def test_before_the_rate_is_known_only_the_token_limit_applies(clock: ManualClock) -> None:
    admission = AdmissionControl(LIMITS, clock=clock)
    admission.admit([b"a"], 9000, Priority.INTERACTIVE)

    assert isinstance(ask(admission, "b", 1000), AdmittedTokens)
    assert ask(admission, "c", 1) == 1
    assert admission.stats.tokens_per_s is None
    assert admission.stats.reserved_tokens == 1


def test_while_little_is_known_of_the_rate_refusals_state_a_short_time(clock: ManualClock) -> None:
    admission = AdmissionControl(LIMITS, clock=clock)
    work = admission.admit([b"a"], 5000, Priority.INTERACTIVE)
    clock.now += 0.2
    work.computed(20, Timings(queue_s=0.1, inference_s=0.1))
    clock.now += 0.01
    retry_after_s = {ask(admission, str(number), 100) for number in range(50)}

    assert admission.stats.tokens_per_s == pytest.approx(100)
    assert retry_after_s == {1}


def test_bulk_work_is_limited_by_tokens_alone_and_refusals_state_when_they_are_done(
    admission: AdmissionControl,
) -> None:
    admission.admit([b"a"], 9000, Priority.BULK)

    assert isinstance(ask(admission, "b", 1000, Priority.BULK), AdmittedTokens)
    assert ask(admission, "c", 10, Priority.BULK) == 1
    assert ask(admission, "d", 4990, Priority.BULK) == 5
    assert ask(admission, "e", 10**9, Priority.BULK) == MAX_RETRY_AFTER_S


def test_bulk_work_delays_no_interactive_work(admission: AdmissionControl) -> None:
    admission.admit([b"a"], 10_000, Priority.BULK)

    assert isinstance(ask(admission, "b", 400), AdmittedTokens)
    assert isinstance(ask(admission, "c"), AdmittedTokens)


def test_the_statistics_count_all_decisions(
    admission: AdmissionControl, clock: ManualClock
) -> None:
    before = admission.stats
    admission.admit([b"a"], 600, Priority.INTERACTIVE)
    ask(admission, "b", 25)
    ask(admission, "c", 35)
    stats = admission.stats
    clock.now += 1.0 + 2 * GRACE_S

    assert (stats.admitted - before.admitted, stats.refused, stats.returned) == (1, 2, 0)
    assert stats.tokens_per_s == pytest.approx(RATE)
    assert stats.reserved_tokens == 60
    assert admission.stats.reserved_tokens == 0


def test_refusals_are_counted_by_their_reason(admission: AdmissionControl) -> None:
    admission.admit([b"a"], 600, Priority.INTERACTIVE)
    ask(admission, "waits too long", 25)
    with pytest.raises(Overloaded):
        admission.admit([b"b"], 10**9, Priority.BULK)

    assert admission.refusals == {"wait": 1, "queue": 1}


@pytest.mark.parametrize(("waited_s", "direction"), [(0.75, "longer"), (0.25, "shorter")])
def test_the_wait_of_a_computation_is_compared_with_its_prediction(
    admission: AdmissionControl, waited_s: float, direction: str
) -> None:
    admission.admit([b"a"], 490, Priority.INTERACTIVE)
    predicted_s = admission.stats.predicted_wait_s
    before = {name: one.count for name, one in admission.wait_errors.items()}
    work = admission.admit([b"b"], 20, Priority.INTERACTIVE)
    for _ in range(2):  # of two chunks the first one counts
        work.computed(10, Timings(queue_s=waited_s))
    bulk = admission.admit([b"c"], 20, Priority.BULK)
    bulk.computed(10, Timings(queue_s=waited_s))

    counts = {name: one.count - before[name] for name, one in admission.wait_errors.items()}
    assert counts == {"longer": 0, "shorter": 0, direction: 1}
    assert admission.wait_errors[direction].sum == pytest.approx(abs(waited_s - predicted_s))


def test_without_limits_everything_is_admitted(clock: ManualClock) -> None:
    admission = AdmissionControl(clock=clock)
    measure(admission, clock, 1)

    assert all(
        isinstance(ask(admission, str(number), 10**6), AdmittedTokens) for number in range(100)
    )


def test_a_large_request_may_wait_a_multiple_of_its_own_compute_time(
    admission: AdmissionControl,
) -> None:
    """A few clients with large requests wait for each other and are not refused."""
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
