"""The loads of the axes over HTTP are what their places say."""

from __future__ import annotations

import pytest

from benchmarks.scaling import service_axes
from benchmarks.scaling.service_axes import (
    QUICK_CLIENTS,
    QUICK_SHARES,
    SHARE_CLIENTS,
    by_clients,
    by_share,
)
from tests.unit.benchmarks.scaling.clients import POOL, FakeClient, asker_of
from tests.unit.benchmarks.scaling.outcomes import ignored, quick

URL = "http://here"


def test_a_service_is_warm_before_its_clients_are_counted() -> None:
    client = FakeClient()

    found = by_clients(asker_of(client), URL, quick(), ignored)

    warm, *loads = client.loads
    assert (warm["clients"], warm["seconds"]) == (QUICK_CLIENTS[-1], quick().warm_up_s)
    asked = [load["clients"] for load in loads]
    assert asked == [*QUICK_CLIENTS, *reversed(QUICK_CLIENTS)]
    assert {load["seconds"] for load in loads} == {quick().seconds}
    assert [point.measured for point in found.points] == [10.0 * c for c in QUICK_CLIENTS]
    assert found.farthest.deviation == pytest.approx(0.0), "rates that grow with the clients"


def test_texts_are_known_before_their_share_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service_axes, "INSERTED_S", 0.0)
    client = FakeClient()

    found = by_share(asker_of(client), URL, quick(), ignored)

    _, known, *loads = client.loads
    assert known["texts"] == POOL
    shares = [sum(text in POOL for text in load["texts"]) / len(load["texts"]) for load in loads]
    assert shares == pytest.approx([*QUICK_SHARES, *reversed(QUICK_SHARES)], abs=0.03)
    assert {load["clients"] for load in loads} == {SHARE_CLIENTS}
    assert [point.x for point in found.points] == list(QUICK_SHARES)
