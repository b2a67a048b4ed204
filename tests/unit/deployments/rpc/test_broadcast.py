"""Calls to every replica return an answer or an error for each.

The handle is one of this process, whose replicas give set answers.
"""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest
import ray.exceptions
import ray.serve.exceptions
from ray.serve._private.common import DeploymentID

from deployments.rpc.handle_client import Handle, HandleClient
from embedder.core.deadline import Deadline
from embedder.core.errors import BackendFailure, DeadlineExceeded, Overloaded, StageUnavailable
from tests.unit.deployments.rpc.replica_errors import from_replica

pytestmark = pytest.mark.usefixtures("virtual_time")

NO_REPLICA = ray.serve.exceptions.DeploymentUnavailableError(DeploymentID(name="Encoder"))


class Replicas:
    """A handle whose broadcasts have these outcomes: the answers of all replicas, or an error."""

    def __init__(self, *outcomes: list[Any] | Exception) -> None:
        self.sends: list[tuple[Any, ...]] = []
        self._outcomes = list(outcomes)

    def broadcast(self, *call: Any) -> Replicas:
        self.sends.append(call)
        return self

    async def results_async(self, *, return_exceptions: bool) -> list[Any]:
        assert return_exceptions, "a replica that fails must not hide the others"
        outcome = self._outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


def _remote(handle: object) -> HandleClient:
    return HandleClient("Encoder", cast("Handle", handle))


async def test_a_broadcast_returns_the_answer_of_every_replica() -> None:
    replicas = Replicas([{"a": 1}, {"a": 2}])

    assert await _remote(replicas).broadcast("ask", 1, "two") == [{"a": 1}, {"a": 2}]
    assert replicas.sends == [("ask", 1, "two")]


async def test_the_error_of_one_replica_is_returned_beside_the_answers() -> None:
    errors = [
        from_replica(Overloaded(2.5)),
        from_replica(ValueError("odd")),
        ray.exceptions.RayActorError(),
        asyncio.CancelledError(),
        LookupError("odd"),
    ]
    answers = await _remote(Replicas([1, *errors, 2])).broadcast("ask")

    assert (answers[0], answers[-1]) == (1, 2)
    assert [type(answer) for answer in answers[1:-1]] == [
        Overloaded,
        BackendFailure,
        StageUnavailable,
        StageUnavailable,
        BackendFailure,
    ]
    assert answers[1].retry_after_s == 2.5


async def test_a_broadcast_is_repeated_after_a_lost_deployment() -> None:
    replicas = Replicas(NO_REPLICA, NO_REPLICA, [1])

    assert await _remote(replicas).broadcast("ask") == [1]
    assert len(replicas.sends) == 3


async def test_a_deployment_without_replicas_is_unavailable() -> None:
    with pytest.raises(StageUnavailable):
        await _remote(Replicas(NO_REPLICA, NO_REPLICA, NO_REPLICA)).broadcast("ask")


async def test_a_broadcast_ends_at_its_deadline() -> None:
    class Hanging(Replicas):
        async def results_async(self, *, return_exceptions: bool) -> list[Any]:
            await asyncio.Event().wait()
            return []

    with pytest.raises(DeadlineExceeded):
        await _remote(Hanging()).broadcast("ask", deadline=Deadline.after(0.05))


async def test_a_broadcast_after_its_deadline_is_not_sent() -> None:
    replicas = Replicas([1])
    with pytest.raises(DeadlineExceeded):
        await _remote(replicas).broadcast("ask", deadline=Deadline.after(-1))

    assert replicas.sends == []
