"""Admission by one of several ingresses: which rate each of its rules takes."""

from __future__ import annotations

import pytest

from embedder.core.errors import Overloaded
from embedder.core.types import Priority
from embedder.pipeline.admission_control import AdmissionControl
from tests.unit.manual_clock import ManualClock
from tests.unit.pipeline.measured_admission import LIMITS, RATE, ask, measure

INGRESSES = 4


@pytest.fixture
def shared(clock: ManualClock) -> AdmissionControl:
    """Return admission control that has measured `RATE` as its share of `INGRESSES` times that."""
    admission = AdmissionControl(LIMITS, clock=clock)
    admission.share(INGRESSES, lambda: None)
    measure(admission, clock, RATE, replicas=INGRESSES)
    return admission


def test_the_wait_is_that_of_the_share(shared: AdmissionControl) -> None:
    shared.admit([b"first"], 400, Priority.INTERACTIVE)

    assert shared.stats.predicted_wait_s == pytest.approx(0.4, rel=0.02)
    assert shared.stats.tokens_per_s == pytest.approx(RATE, rel=0.02)


def test_the_own_time_of_a_request_is_that_of_all_devices(shared: AdmissionControl) -> None:
    shared.admit([b"first"], 600, Priority.INTERACTIVE)

    # 8 times 200 tokens at 4,000 tokens/s are 0.4 s, and 400 tokens are 0.8 s.
    assert isinstance(ask(shared, "small", 200), int)
    assert not isinstance(ask(shared, "large", 400), int)


def test_refused_work_is_promised_at_the_rate_of_all_devices(shared: AdmissionControl) -> None:
    shared.admit([b"first"], 1000, Priority.INTERACTIVE)
    times = []
    for number in range(3):
        with pytest.raises(Overloaded) as refused:
            shared.admit([b"%d" % number], 100, Priority.INTERACTIVE)
        times.append(refused.value.retry_after_s)

    assert times[0] == pytest.approx(1.0, rel=0.02)
    assert times[2] - times[1] == pytest.approx(100 / (0.92 * INGRESSES * RATE), rel=0.02)


def test_an_ingress_expects_its_part_of_the_clients_that_return(
    shared: AdmissionControl, clock: ManualClock
) -> None:
    work = shared.admit([b"first"], 1000, Priority.INTERACTIVE)
    for number in range(4):
        ask(shared, str(number), 100)
    work.end()
    clock.now += 0.8
    shared.admit([b"second"], 100, Priority.INTERACTIVE)

    expected = shared._policy.reservations.expected(clock.now, LIMITS.max_wait_s)
    assert expected > 0
    alone_s = 100 / RATE
    assert shared.stats.predicted_wait_s - alone_s == pytest.approx(
        expected / INGRESSES / RATE, rel=0.05
    )


def test_bulk_work_above_the_bound_gets_the_time_of_the_share(shared: AdmissionControl) -> None:
    shared.admit([b"first"], LIMITS.max_queued_tokens, Priority.BULK)
    with pytest.raises(Overloaded) as refused:
        shared.admit([b"second"], 500, Priority.BULK)

    assert refused.value.retry_after_s == pytest.approx(0.5, rel=0.02)
