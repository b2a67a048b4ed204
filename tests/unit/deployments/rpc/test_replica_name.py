"""The name of a replica, and the handle of its deployment."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from ray import serve

from deployments.rpc.replica_name import own_deployment, replica_id


def test_outside_of_a_replica_the_name_is_local() -> None:
    assert replica_id() == "local"
    assert own_deployment("Ingress").deployment_name == "Ingress"


def test_inside_of_a_replica_serve_gives_name_and_application(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    context = SimpleNamespace(replica_id=SimpleNamespace(unique_id="k3x"), app_name="embedder")
    monkeypatch.setattr(serve, "get_replica_context", lambda: context)

    assert replica_id() == "k3x"
    assert own_deployment("Ingress").app_name == "embedder"
