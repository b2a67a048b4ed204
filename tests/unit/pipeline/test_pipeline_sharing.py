"""Concurrent requests with the same inputs are computed once; a failure does not spread."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from embedder.cache.memory import MemoryCache
from embedder.core.deadline import NEVER, Deadline
from embedder.core.errors import BackendFailure, LimitExceeded
from embedder.core.request import Embeddings, EmbedOptions
from embedder.core.types import Encoded, Priority, TokenBatch, Truncate
from embedder.pipeline.pipeline import Pipeline
from embedder.pipeline.stage_executor import Stages
from tests.unit.fake_model import MODEL, RAW, FakeModel, expected, pipeline, settle


def start(
    embedder: Pipeline, texts: Sequence[str], options: EmbedOptions = RAW
) -> asyncio.Task[Embeddings]:
    """Start to embed in a task."""
    return asyncio.get_running_loop().create_task(embedder.embed(texts, options))


def gated() -> tuple[FakeModel, asyncio.Event]:
    """Return a model that computes once its gate is set, and the gate."""
    model = FakeModel()
    model.gate = asyncio.Event()
    return model, model.gate


class Watched(FakeModel):
    """Counts cancelled calls, and fails with the error of ``failure``."""

    def __init__(self) -> None:
        super().__init__()
        self.cancelled = 0
        self.failure: asyncio.Future[None] | None = None

    async def encode(
        self, tokens: TokenBatch, *, priority: Priority, deadline: Deadline
    ) -> Encoded:
        try:
            if self.failure is not None:
                await self.failure
            return await super().encode(tokens, priority=priority, deadline=deadline)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise


async def test_inputs_that_concurrent_requests_share_are_computed_once() -> None:
    model, gate = gated()
    embedder = pipeline(model)
    one, two = start(embedder, ["a", "b"]), start(embedder, ["c", "b"])
    await settle()
    gate.set()

    assert (await one).vectors.tolist() == expected("a", "b").tolist()
    assert (await two).vectors.tolist() == expected("c", "b").tolist()
    assert sorted(row for batch in model.encoded for row in batch) == [[97], [98], [99]]
    assert len(embedder._computations) == 0


async def test_a_thousand_identical_requests_are_one_encoder_call() -> None:
    model = FakeModel()
    embedder = pipeline(model)
    answers = await asyncio.gather(*(embedder.embed(["same"], RAW) for _ in range(1000)))

    assert model.encoded == [[list(map(ord, "same"))]]
    assert all(answer.vectors.tolist() == expected("same").tolist() for answer in answers)
    assert len(embedder._computations) == 0


async def test_requests_that_share_a_computation_may_differ_in_dimensions_and_norm() -> None:
    model, gate = gated()
    embedder = pipeline(model)
    raw = start(embedder, ["a"])
    short = start(embedder, ["a"], EmbedOptions(dimensions=1))
    await settle()
    gate.set()

    assert (await raw).vectors.tolist() == expected("a").tolist()
    assert (await short).vectors.tolist() == [[1]]
    assert len(model.encoded) == 1


async def test_the_second_caller_is_answered_when_the_first_has_left() -> None:
    model, gate = gated()
    embedder = pipeline(model)
    first = start(embedder, ["a"])
    await settle()
    second = start(embedder, ["a"])
    await settle()
    first.cancel()
    await settle()
    gate.set()

    assert (await second).vectors.tolist() == expected("a").tolist()
    assert first.cancelled()
    assert len(model.encoded) == 1
    assert len(embedder._computations) == 0


async def test_the_encoder_is_cancelled_when_every_caller_has_left() -> None:
    model = Watched()
    model.gate = asyncio.Event()
    embedder = pipeline(model)
    callers = [start(embedder, ["a"]) for _ in range(3)]
    await settle()
    for caller in callers[:2]:
        caller.cancel()
    await settle()
    with_one_left = model.cancelled
    callers[2].cancel()
    await settle()

    assert with_one_left == 0
    assert model.cancelled == 1
    assert len(embedder._computations) == 0


async def test_a_request_after_an_abandoned_one_starts_a_new_computation() -> None:
    model, gate = gated()
    embedder = pipeline(model)
    gone = start(embedder, ["a"])
    await settle()
    gone.cancel()
    await settle()
    gate.set()

    assert (await embedder.embed(["a"], RAW)).vectors.tolist() == expected("a").tolist()
    assert len(model.encoded) == 2


async def test_a_bad_input_of_one_request_does_not_fail_another() -> None:
    """The other request joined before the error and computes its own input alone."""
    model = FakeModel()
    embedder = pipeline(model)
    uncut = EmbedOptions(truncate=Truncate.NONE, normalize=False)
    bad = start(embedder, ["good", "much too long"], uncut)
    good = start(embedder, ["good"], uncut)
    answer = await good

    assert isinstance(bad.exception(), LimitExceeded)
    assert answer.vectors.tolist() == expected("good").tolist()
    assert model.tokenized == [["good", "much too long"], ["good"]]
    assert len(embedder._computations) == 0


async def test_a_failure_reaches_all_requests_with_that_input() -> None:
    class Broken(FakeModel):
        async def encode(
            self, tokens: TokenBatch, *, priority: Priority, deadline: Deadline
        ) -> Encoded:
            self.encoded.append([])
            await asyncio.sleep(0)
            raise BackendFailure("broken")

    model = Broken()
    embedder = pipeline(model)
    callers = [start(embedder, ["a"]) for _ in range(4)]
    await asyncio.wait(callers)

    assert [type(caller.exception()) for caller in callers] == [BackendFailure] * 4
    assert len(model.encoded) <= 4
    assert len(embedder._computations) == 0


async def test_a_failure_is_not_cached() -> None:
    model = Watched()
    model.failure = asyncio.get_running_loop().create_future()
    embedder = pipeline(model)
    failed = start(embedder, ["a"])
    await settle()
    model.failure.set_exception(BackendFailure("once"))
    await settle()
    model.failure = None

    assert isinstance(failed.exception(), BackendFailure)
    assert (await embedder.embed(["a"], RAW)).vectors.tolist() == expected("a").tolist()


async def test_a_request_in_the_event_loop_step_of_a_failure_is_answered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A failed computation that is not removed yet must not be joined again and again."""
    model = Watched()
    model.failure = asyncio.get_running_loop().create_future()
    embedder = pipeline(model)
    failed = start(embedder, ["a"])
    await settle()
    find, looks = embedder._computations._single_flight.find, 0

    def counted(*arguments: Any) -> Any:
        nonlocal looks
        looks += 1
        assert looks < 100, "the event loop is blocked"
        return find(*arguments)

    monkeypatch.setattr(embedder._computations._single_flight, "find", counted)
    model.failure.set_exception(BackendFailure("once"))
    model.failure = None
    answer = await start(embedder, ["a"])

    assert isinstance(failed.exception(), BackendFailure)
    assert answer.vectors.tolist() == expected("a").tolist()


async def test_a_computation_has_the_deadline_of_the_pipeline() -> None:
    class Clocked(FakeModel):
        deadline: Deadline = NEVER

        async def encode(
            self, tokens: TokenBatch, *, priority: Priority, deadline: Deadline
        ) -> Encoded:
            self.deadline = deadline
            return await super().encode(tokens, priority=priority, deadline=deadline)

    model, unbounded = Clocked(), Clocked()
    before = asyncio.get_running_loop().time()
    stages = Stages(model, model, MemoryCache(0))
    await Pipeline(MODEL, stages, limits=None, computation_timeout_s=100.0).embed(["a"])
    after = asyncio.get_running_loop().time()
    await pipeline(unbounded).embed(["a"])

    assert before <= model.deadline - 100.0 <= after
    assert unbounded.deadline == NEVER


async def test_requests_that_share_a_bad_input_fail_after_one_computation() -> None:
    """The computation has no other input, so a retry per request would fail again."""

    class Broken(FakeModel):
        async def encode(
            self, tokens: TokenBatch, *, priority: Priority, deadline: Deadline
        ) -> Encoded:
            await super().encode(tokens, priority=priority, deadline=deadline)
            raise BackendFailure("poison")

    model = Broken()
    shared = pipeline(model)
    calls = [start(shared, ["same"]) for _ in range(50)]
    results = await asyncio.gather(*calls, return_exceptions=True)

    assert {type(result) for result in results} == {BackendFailure}
    assert len(model.encoded) == 1
