"""Admission control that has measured a rate, on a clock that the test sets."""

from __future__ import annotations

import pytest

from embedder.core.errors import Overloaded
from embedder.core.types import Priority, ReplicaLoad, Timings
from embedder.pipeline.admission_control import AdmissionControl, AdmittedTokens
from embedder.settings.model import LimitSettings
from tests.unit.manual_clock import ManualClock

RATE = 1000
LIMITS = LimitSettings(max_queued_tokens=10_000, max_wait_s=0.5)
WAITED = Timings(queue_s=1.0, inference_s=0.0)


@pytest.fixture
def clock() -> ManualClock:
    """Return a clock that does not advance by itself."""
    return ManualClock(100.0)


@pytest.fixture
def admission(clock: ManualClock) -> AdmissionControl:
    """Return admission control that has measured `RATE`, with an empty queue."""
    admission = AdmissionControl(LIMITS, clock=clock)
    measure(admission, clock, RATE)
    return admission


def measure(
    admission: AdmissionControl, clock: ManualClock, rate: int, *, replicas: int = 0
) -> None:
    """Report work at a rate for 100 s; so many replicas report that rate too."""
    work = admission.admit([b"measured"], 10**6, Priority.BULK)
    for _ in range(100):
        clock.now += 1.0
        for replica in range(replicas):
            admission.answered(ReplicaLoad(str(replica), 0, rate))
        work.computed(rate, WAITED)
    work.end()


def ask(
    admission: AdmissionControl,
    name: str,
    tokens: int = 10,
    priority: Priority = Priority.INTERACTIVE,
) -> AdmittedTokens | float:
    """Return the admitted work, or the whole seconds that the refusal states."""
    try:
        return admission.admit([name.encode()], tokens, priority)
    except Overloaded as error:
        return error.whole_s
