"""The number of running replicas that a handle knows."""

from __future__ import annotations

import inspect
from types import SimpleNamespace
from typing import Any

import pytest
from ray.serve._private import router
from ray.serve._private.request_router.request_router import RequestRouter
from ray.serve.handle import DeploymentHandle

from deployments.rpc.running_replicas import PATH, running_replicas


def _handle(replicas: object) -> Any:
    owner = replicas
    for name in reversed(PATH):
        owner = SimpleNamespace(**{name: owner})
    return owner


@pytest.mark.parametrize("count", [0, 1, 3])
def test_the_replicas_of_the_router_are_counted(count: int) -> None:
    assert running_replicas(_handle(dict.fromkeys(range(count)))) == count


@pytest.mark.parametrize("depth", range(4))
def test_a_router_that_is_built_differently_leaves_the_number_unknown(depth: int) -> None:
    handle = _handle({})
    owner = handle
    for name in PATH[:depth]:
        owner = getattr(owner, name)
    delattr(owner, PATH[depth])

    assert running_replicas(handle) is None


def test_the_number_is_unknown_before_the_first_call() -> None:
    assert running_replicas(DeploymentHandle("Encoder", "embedder")) is None


def test_the_routers_of_this_version_of_ray_have_these_attributes() -> None:
    for kind in (router.CurrentLoopRouter, router.SingletonThreadRouter):
        assert f"self.{PATH[1]} = AsyncioRouter(" in inspect.getsource(kind)
    assert f"self.{PATH[2]} = request_router" in inspect.getsource(router.AsyncioRouter)
    assert isinstance(inspect.getattr_static(RequestRouter, PATH[3]), property)
