"""What a replica is called, and how all of its deployment are reached."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from ray import serve

from deployments.rpc.replica_name import own_deployment, replica_id


def test_outside_of_a_replica_there_is_a_name_and_a_handle_all_the_same() -> None:
    assert replica_id() == "local"
    assert own_deployment("Ingress").deployment_name == "Ingress"


def test_inside_of_one_both_are_what_serve_says(monkeypatch: pytest.MonkeyPatch) -> None:
    context = SimpleNamespace(replica_id=SimpleNamespace(unique_id="k3x"), app_name="embedder")
    monkeypatch.setattr(serve, "get_replica_context", lambda: context)

    assert replica_id() == "k3x"
    assert own_deployment("Ingress").app_name == "embedder"
