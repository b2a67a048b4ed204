"""Calls over a handle: lost ones are sent again, errors come back as our own, many travel as one.

The handle is one of this process; what comes out of it is scripted.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

import grpc
import numpy as np
import pytest
import ray.exceptions
import ray.serve.exceptions
from ray.serve._private.common import DeploymentID

from deployments.index import IndexShard
from deployments.remote import Remote, RemoteCache, RemoteEncoder, RemoteIndex, RemoteTokenizer
from deployments.settings import StageSettings
from embedder.config import ModelSettings
from embedder.errors import (
    BackendFailure,
    DeadlineExceeded,
    EmbedderError,
    InvalidInput,
    Overloaded,
    StageUnavailable,
    UnknownCollection,
)
from embedder.index.points import Hit, Metric, Query
from embedder.types import Input, Priority, TokenBatch, Tokenized, Truncate, Vectors
from tests.unit.deployments.ingress.fake_service import (
    ALIAS,
    LetterEncoder,
    LetterTokenizer,
    as_handle,
)
from tests.unit.index.oracle import points

ONE_FLIGHT = StageSettings(max_replicas=1, flights_per_replica=1)
LOST = ray.exceptions.RayActorError()


class Script:
    """Answers each call with the next thing given; what is an error is raised."""

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
    """Never answers, and remembers that nobody waits any more."""

    def __init__(self) -> None:
        self.cancelled = 0

    async def ask(self) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise


def _remote(stage: object) -> Remote:
    return Remote("Encoder", as_handle(stage))


def _from_replica(cause: Exception) -> Exception:
    """Return what Ray raises here when a replica has raised ``cause``."""
    error: Any = ray.exceptions.RayTaskError("ask", "text", cause)  # type: ignore[no-untyped-call]
    raised: Exception = error.as_instanceof_cause()
    return raised


async def test_an_answer_comes_back_as_it_is_and_arguments_go_as_they_are() -> None:
    script = Script({"a": 1})

    assert await _remote(script).call("ask", 1, "two", [3]) == {"a": 1}
    assert script.sends == [(1, "two", [3])]


async def test_a_call_survives_two_lost_replicas() -> None:
    script = Script(LOST, LOST, "answer")

    assert await _remote(script).call("ask", 7) == "answer"
    assert script.sends == [(7,)] * 3


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
async def test_every_way_of_losing_a_replica_is_worth_another_try(error: Exception) -> None:
    script = Script(error, "answer")

    assert await _remote(script).call("ask") == "answer"
    assert len(script.sends) == 2


@pytest.mark.parametrize(
    "own", [InvalidInput("input[3]", "is bad"), Overloaded(2.5), BackendFailure("no")]
)
async def test_our_own_error_in_a_replica_is_raised_here_and_nothing_is_sent_again(
    own: EmbedderError,
) -> None:
    script = Script(_from_replica(own), "never asked for")
    with pytest.raises(EmbedderError) as caught:
        await _remote(script).call("ask")

    assert type(caught.value) is type(own)
    assert caught.value.args == own.args
    assert len(script.sends) == 1


@pytest.mark.parametrize("cause", [ValueError("bad"), OSError("bad"), TimeoutError("bad")])
async def test_a_foreign_error_in_a_replica_is_a_failure_of_the_backend(cause: Exception) -> None:
    script = Script(_from_replica(cause), "never asked for")
    with pytest.raises(BackendFailure) as caught:
        await _remote(script).call("ask", deadline=time.monotonic() + 60)

    assert "bad" in caught.value.reason
    assert len(script.sends) == 1


@pytest.mark.parametrize("error", [ValueError("odd"), LookupError("odd")])
async def test_any_other_error_of_a_call_is_a_failure_of_the_backend(error: Exception) -> None:
    script = Script(error, "never asked for")
    with pytest.raises(BackendFailure) as caught:
        await _remote(script).call("ask")

    assert "odd" in caught.value.reason
    assert len(script.sends) == 1


async def test_a_deadline_ends_a_call_and_the_replica_hears_of_it() -> None:
    stuck = Stuck()
    with pytest.raises(DeadlineExceeded) as caught:
        await _remote(stuck).call("ask", deadline=time.monotonic() + 0.05)

    assert caught.value.stage == "Encoder"
    assert stuck.cancelled == 1


async def test_a_caller_that_leaves_cancels_its_call() -> None:
    stuck = Stuck()
    calling = asyncio.ensure_future(_remote(stuck).call("ask"))
    await asyncio.sleep(0.01)
    calling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await calling

    assert stuck.cancelled == 1


@pytest.mark.parametrize(("allowed_s", "sends"), [(0.05, 1), (-1, 0)])
async def test_nothing_is_sent_once_the_deadline_has_passed(allowed_s: float, sends: int) -> None:
    script = Script(LOST, "too late")
    with pytest.raises(DeadlineExceeded):
        await _remote(script).call("ask", deadline=time.monotonic() + allowed_s)

    assert len(script.sends) == sends


class SlowTokenizer(LetterTokenizer):
    """Takes long enough for callers to gather."""

    async def tokenize(
        self, model: ModelSettings, inputs: Sequence[Input], truncate: Truncate
    ) -> Tokenized:
        answer = await super().tokenize(model, inputs, truncate)
        await asyncio.sleep(0.02)
        return answer


async def test_tokenizer_calls_that_wait_together_travel_together() -> None:
    stage = SlowTokenizer()
    remote = RemoteTokenizer(as_handle(stage), ONE_FLIGHT, ModelSettings())
    texts = [["first"], *([chr(97 + number), "and more"] for number in range(20))]
    answers = await asyncio.gather(
        *(remote.tokenize(text, truncate=Truncate.END, deadline=None) for text in texts)
    )

    assert len(stage.calls) < len(texts) / 4
    for text, answer in zip(texts, answers, strict=True):
        rows = [[ord(letter) for letter in word] for word in text]
        assert [row.tolist() for row in answer.tokens.rows()] == rows


def _encoder(stage: LetterEncoder, model: ModelSettings | None = None) -> RemoteEncoder:
    return RemoteEncoder(
        as_handle(stage), ONE_FLIGHT, model or ModelSettings(), max_batch_tokens=100
    )


def _row(number: int) -> list[int]:
    return [97] * (number % 5) + [98]


async def test_encoder_calls_that_wait_together_travel_together() -> None:
    stage = LetterEncoder()
    remote = _encoder(stage)

    async def encode(number: int) -> Vectors:
        batch = TokenBatch.of([_row(number)])
        return await remote.encode(batch, priority=Priority.INTERACTIVE, deadline=None)

    answers = await asyncio.gather(*(encode(number) for number in range(20)))

    assert len(stage.calls) < 5
    assert [answer.tolist() for answer in answers] == [[[n % 5, 1, 0, 0]] for n in range(20)]


@pytest.mark.parametrize("priority", Priority)
async def test_the_encoder_is_told_whose_work_it_is_and_how_long_it_may_take(
    priority: Priority,
) -> None:
    stage = LetterEncoder()
    remote = _encoder(stage)
    batch = TokenBatch.of([[97]])
    await remote.encode(batch, priority=priority, deadline=time.monotonic() + 30)
    await remote.encode(batch, priority=priority, deadline=None)
    (_, first, seconds), (_, second, forever) = stage.calls

    assert first is second is priority
    assert seconds is not None
    assert 25 < seconds <= 30
    assert forever is None


async def test_the_encoder_is_told_which_model_is_meant() -> None:
    remotes = [_encoder(LetterEncoder(), ModelSettings(name=name)) for name in (ALIAS, "own")]
    batch = TokenBatch.of([[97]])
    answers = [
        await remote.encode(batch, priority=Priority.BULK, deadline=None) for remote in remotes
    ]

    assert [answer.tolist() for answer in answers] == [[[1, 0, 0, 0]], [[0, 0, 0, 1]]]


async def test_searches_that_wait_together_travel_together_and_fail_alone() -> None:
    class Counting(IndexShard):
        sends = 0

        async def search(self, queries: Sequence[Query]) -> list[list[Hit]]:
            Counting.sends += 1
            try:
                return await super().search(queries)
            except EmbedderError as error:
                raise _from_replica(error) from None

    shard = Counting()
    remote = RemoteIndex(as_handle(shard))
    await remote.create("line", Metric.L1, None)
    await remote.upsert("line", points({str(n): [float(n)] for n in range(20)}), None)

    async def nearest(name: str, number: int) -> list[list[Hit]]:
        return await remote.search([Query(name, np.array([number], np.float32), 1)], None)

    answers = await asyncio.gather(*(nearest("line", n) for n in range(20)))
    assert Counting.sends < 5
    assert [hits[0].id for (hits,) in answers] == [str(n) for n in range(20)]

    mixed = await asyncio.gather(
        nearest("line", 3), nearest("gone", 3), nearest("line", 4), return_exceptions=True
    )
    assert isinstance(mixed[1], UnknownCollection)
    assert [answer[0][0].id for answer in mixed[::2] if isinstance(answer, list)] == ["3", "4"]


async def test_a_cache_that_is_asked_directly_says_what_went_wrong() -> None:
    class Broken:
        async def get_many(self, keys: Sequence[bytes], width: int) -> None:
            raise ValueError("broken")

    with pytest.raises(BackendFailure, match="failed"):
        await RemoteCache(as_handle(Broken())).get_many([b"key"], 4)
