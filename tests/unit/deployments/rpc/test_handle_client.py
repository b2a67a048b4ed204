"""Calls through a handle: lost calls are repeated, and errors become the library's.

The handle is one of this process; what comes out of it is scripted.
"""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest
import ray.exceptions
import ray.serve.exceptions
from ray.serve._private.common import DeploymentID

from deployments.rpc.call_stats import CALL_STATS
from deployments.rpc.handle_client import HandleClient
from embedder.core.deadline import Deadline
from embedder.core.errors import (
    BackendFailure,
    DeadlineExceeded,
    EmbedderError,
    InvalidInput,
    Overloaded,
    StageUnavailable,
)
from tests.unit.deployments.local_handle import as_handle
from tests.unit.deployments.rpc.replica_errors import from_replica
from tests.unit.fake_model import settle

pytestmark = pytest.mark.usefixtures("virtual_time")

LOST = ray.exceptions.RayActorError()


class Script:
    """Answers each call with the next given value, or raises it if it is an error."""

    def __init__(self, *answers: Any) -> None:
        self.sends: list[tuple[Any, ...]] = []
        self._answers = list(answers)

    async def ask(self, *args: Any) -> Any:
        self.sends.append(args)
        answer = self._answers.pop(0)
        if isinstance(answer, BaseException):
            raise answer
        return answer


class Stuck:
    """Never answers, and records its cancellation."""

    def __init__(self) -> None:
        self.cancelled = 0

    async def ask(self) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise


def _remote(stage: object) -> HandleClient:
    return HandleClient("Encoder", as_handle(stage))


async def test_arguments_and_answers_are_passed_unchanged() -> None:
    script = Script({"a": 1})

    assert await _remote(script).call("ask", 1, "two", [3]) == {"a": 1}
    assert script.sends == [(1, "two", [3])]


async def test_a_call_survives_two_lost_replicas() -> None:
    script = Script(LOST, LOST, "answer")

    before = CALL_STATS.retries["Encoder"]
    assert await _remote(script).call("ask", 7) == "answer"
    assert script.sends == [(7,)] * 3
    assert CALL_STATS.retries["Encoder"] - before == 2


async def test_a_stage_that_loses_three_replicas_is_unavailable() -> None:
    script = Script(LOST, LOST, LOST, "never asked for")
    with pytest.raises(StageUnavailable) as caught:
        await _remote(script).call("ask")

    assert caught.value.stage == "Encoder"
    assert "RayActorError" in caught.value.reason
    assert len(script.sends) == 3


@pytest.mark.parametrize(
    "error",
    [
        ray.exceptions.ActorDiedError(),
        ray.exceptions.ActorUnavailableError("gone", None),
        ray.exceptions.WorkerCrashedError(),
        ray.exceptions.NodeDiedError("gone"),  # type: ignore[no-untyped-call]
        ray.serve.exceptions.DeploymentUnavailableError(DeploymentID(name="Encoder")),
        ray.serve.exceptions.ReplicaUnavailableError("replica"),
        ray.serve.exceptions.RequestCancelledError("request"),
        grpc.aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, grpc.aio.Metadata(), grpc.aio.Metadata()),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_a_call_is_repeated_after_every_kind_of_loss(error: Exception) -> None:
    script = Script(error, "answer")

    assert await _remote(script).call("ask") == "answer"
    assert len(script.sends) == 2


@pytest.mark.parametrize(
    "own", [InvalidInput("input[3]", "is bad"), Overloaded(2.5), BackendFailure("no")]
)
async def test_an_embedder_error_of_a_replica_is_raised_without_a_retry(
    own: EmbedderError,
) -> None:
    script = Script(from_replica(own), "never asked for")
    with pytest.raises(EmbedderError) as caught:
        await _remote(script).call("ask")

    assert type(caught.value) is type(own)
    assert caught.value.args == own.args
    assert len(script.sends) == 1


@pytest.mark.parametrize("cause", [ValueError("bad"), OSError("bad"), TimeoutError("bad")])
async def test_another_error_of_a_replica_is_a_backend_failure(cause: Exception) -> None:
    script = Script(from_replica(cause), "never asked for")
    with pytest.raises(BackendFailure) as caught:
        await _remote(script).call("ask", deadline=Deadline.after(60))

    assert "bad" in caught.value.reason
    assert len(script.sends) == 1


@pytest.mark.parametrize("error", [ValueError("odd"), LookupError("odd")])
async def test_an_unknown_error_of_a_call_is_a_backend_failure(error: Exception) -> None:
    script = Script(error, "never asked for")
    with pytest.raises(BackendFailure) as caught:
        await _remote(script).call("ask")

    assert "odd" in caught.value.reason
    assert len(script.sends) == 1


async def test_a_deadline_cancels_the_call_in_the_replica() -> None:
    stuck = Stuck()
    with pytest.raises(DeadlineExceeded) as caught:
        await _remote(stuck).call("ask", deadline=Deadline.after(0.05))
    await settle()

    assert caught.value.stage == "Encoder"
    assert stuck.cancelled == 1


async def test_a_cancelled_caller_cancels_its_call() -> None:
    stuck = Stuck()
    calling = asyncio.ensure_future(_remote(stuck).call("ask"))
    await settle()
    calling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await calling

    assert stuck.cancelled == 1


@pytest.mark.parametrize(("allowed_s", "sends"), [(0.05, 1), (-1, 0)])
async def test_a_call_after_its_deadline_is_not_sent(allowed_s: float, sends: int) -> None:
    script = Script(LOST, "too late")
    with pytest.raises(DeadlineExceeded):
        await _remote(script).call("ask", deadline=Deadline.after(allowed_s))

    assert len(script.sends) == sends
