"""The price of a replica's time is published where its pool has one."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping

import pytest
from pydantic import ValidationError

from deployments.encoder.replica import EncoderReplica
from deployments.metrics.publisher import MetricPublisher
from deployments.settings.encoders import EncoderDeployment, EncoderReplicas
from deployments.settings.service import ServeSettings


@pytest.mark.parametrize(("price", "dollars"), [(7200.0, 2.0), (None, 0.0), (0.0, 0.0)])
def test_the_price_of_a_second_is_counted(
    monkeypatch: pytest.MonkeyPatch, price: float | None, dollars: float
) -> None:
    published: dict[str, object] = {}

    def publish(_: MetricPublisher, numbers: Mapping[str, object], *labels: str) -> None:
        published.update(numbers)

    monkeypatch.setattr(MetricPublisher, "publish", publish)
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now)
    pool = EncoderDeployment("Encoder", EncoderReplicas(dollars_per_hour=price))
    replica = EncoderReplica(ServeSettings(), pool)
    now += 1.0
    replica._publish()

    assert published["dollars"] == pytest.approx(dollars)


@pytest.mark.parametrize("price", [-0.01, math.inf, math.nan])
def test_a_price_is_a_finite_number_of_at_least_0(price: float) -> None:
    with pytest.raises(ValidationError, match="dollars_per_hour"):
        EncoderReplicas(dollars_per_hour=price)
