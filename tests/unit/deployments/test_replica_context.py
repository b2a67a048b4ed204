"""The names that Serve gives this process, in the logs and the spans."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from ray import serve

from deployments.logs.replica_log import replica_fields
from deployments.replica_context import replica_context
from deployments.tracing.tracer import _own_names


def test_outside_of_serve_there_is_none() -> None:
    assert replica_context() is None
    assert replica_fields() == {}
    assert _own_names() == {}


def test_logs_and_spans_have_the_names_of_serve(monkeypatch: pytest.MonkeyPatch) -> None:
    replica = SimpleNamespace(unique_id="k3x")
    context = SimpleNamespace(replica_id=replica, app_name="embedder", deployment="Ingress")
    monkeypatch.setattr(serve, "get_replica_context", lambda: context)

    assert replica_fields() == {
        "application": "embedder",
        "deployment": "Ingress",
        "replica": "k3x",
        "component_name": "replica",
    }
    assert _own_names() == {"deployment": "Ingress", "replica_id": "k3x"}
