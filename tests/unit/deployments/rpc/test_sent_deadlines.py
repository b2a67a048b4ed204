"""A deadline that Ray sends to another process holds there for the seconds that remain."""

from __future__ import annotations

import math

import pytest
from ray import cloudpickle

from embedder.core.deadline import Deadline
from tests.unit.virtual_time import VirtualTime


@pytest.mark.parametrize("seconds", [0.0, 5.0, math.inf])
async def test_a_deadline_is_sent_by_ray(seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    VirtualTime(monkeypatch)
    sent: bytes = cloudpickle.dumps(Deadline.after(seconds))  # type: ignore[no-untyped-call]
    received = cloudpickle.loads(sent)

    assert isinstance(received, Deadline)
    assert received.remaining_s() == pytest.approx(seconds)
    assert received.expired == (seconds == 0)
