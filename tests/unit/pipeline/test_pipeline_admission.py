"""What a pipeline admits, what costs no tokens, and that all admitted tokens are released."""

from __future__ import annotations

import asyncio

import pytest

from embedder.cache.memory import MemoryCache
from embedder.core.deadline import Deadline
from embedder.core.errors import InvalidInput, Overloaded
from embedder.core.request import EmbedOptions
from embedder.core.types import Encoded, Priority, Timings, TokenBatch, Truncate
from embedder.pipeline.admission_control import AdmissionControl
from embedder.pipeline.pipeline import Pipeline
from embedder.pipeline.stage_executor import Stages
from embedder.settings.model import LimitSettings
from tests.unit.fake_model import MODEL, RAW, FakeModel, FakeSharedCache, expected, settle, sharded

FULL = LimitSettings(max_queued_tokens=20)


def sharing(
    admission: AdmissionControl, model: FakeModel, shared_cache: FakeSharedCache | None = None
) -> Pipeline:
    """Return a pipeline with a shared admission control."""
    stages = Stages(model, model, MemoryCache(2**20), sharded(shared_cache, timeout_s=5))
    return Pipeline(MODEL, stages, limits=None, admission=admission)


def gated() -> FakeModel:
    """Return a model that computes once its gate is set."""
    model = FakeModel()
    model.gate = asyncio.Event()
    return model


def queued(admission: AdmissionControl) -> int:
    """Return the queued tokens."""
    return sum(admission.stats.queued_tokens.values())


def waiting(admission: AdmissionControl) -> list[Priority]:
    """Return the priorities with queued tokens."""
    return [priority for priority, tokens in admission.stats.queued_tokens.items() if tokens]


async def test_texts_count_as_estimated_until_they_are_tokenized() -> None:
    admission, model, shared_cache = AdmissionControl(), gated(), FakeSharedCache()
    shared_cache.open.clear()
    call = asyncio.create_task(
        sharing(admission, model, shared_cache).embed(["abcdefg", [1, 2, 3]])
    )
    await settle()
    estimated = queued(admission)
    shared_cache.open.set()
    await settle()
    counted = queued(admission)
    assert model.gate is not None
    model.gate.set()
    await call

    assert (estimated, counted, queued(admission)) == (2 + 3, 7 + 3, 0)


async def test_hits_of_the_shared_cache_are_released_when_it_answers() -> None:
    admission, model, shared_cache = AdmissionControl(), gated(), FakeSharedCache()
    assert model.gate is not None
    model.gate.set()
    await sharing(admission, model, shared_cache).embed(["abcd", "efgh"])
    await settle()
    model.gate.clear()
    call = asyncio.create_task(sharing(admission, model, shared_cache).embed(["abcd", "x", "efgh"]))
    await settle()
    await settle()
    counted = queued(admission)
    model.gate.set()
    await call

    assert counted == 1


async def test_hits_and_joined_computations_are_admitted_on_a_full_queue() -> None:
    admission, model = AdmissionControl(FULL), gated()
    assert model.gate is not None
    embedder = sharing(admission, model)
    model.gate.set()
    await embedder.embed(["cached"])
    model.gate.clear()
    first = asyncio.create_task(embedder.embed([[1] * 8, [2] * 8]))
    await settle()
    before = queued(admission)
    joined = asyncio.create_task(embedder.embed([[1] * 8, "cached"], RAW))
    await settle()
    with pytest.raises(Overloaded):
        await embedder.embed([[3] * 5])
    after = queued(admission)
    model.gate.set()
    await first

    assert before == after == 16
    assert (await embedder.embed(["cached"])).cached == 1
    assert (await joined).vectors.tolist() == [[8, 8, 1, 1], *expected("cached").tolist()]
    assert queued(admission) == 0


async def test_a_refused_request_does_no_work_and_leaves_nothing() -> None:
    admission, model = AdmissionControl(FULL), gated()
    embedder = sharing(admission, model)
    first = asyncio.create_task(embedder.embed([[1] * 8, [2] * 8]))
    await settle()
    with pytest.raises(Overloaded) as caught:
        await embedder.embed(["text", [1] * 8, [3] * 5])
    assert model.gate is not None
    model.gate.set()
    await first

    assert caught.value.retry_after_s == 1
    assert model.tokenized == [[[1] * 8, [2] * 8]]
    assert len(embedder._computations) == queued(admission) == 0


async def test_pipelines_of_several_models_share_one_queue() -> None:
    admission, slow = AdmissionControl(FULL), gated()
    first = asyncio.create_task(sharing(admission, slow).embed([[1] * 8, [2] * 8]))
    await settle()
    with pytest.raises(Overloaded):
        await sharing(admission, FakeModel()).embed([[3] * 5])
    assert slow.gate is not None
    slow.gate.set()
    await first

    assert waiting(admission) == []


async def test_work_counts_by_its_priority() -> None:
    admission, model = AdmissionControl(), gated()
    embedder = sharing(admission, model)
    bulk = asyncio.create_task(embedder.embed([[1] * 8], EmbedOptions(priority=Priority.BULK)))
    await settle()
    before = waiting(admission)
    assert model.gate is not None
    model.gate.set()
    await bulk

    assert before == [Priority.BULK]
    assert waiting(admission) == []


@pytest.mark.parametrize("steps", [0, 1, 3, 10])
async def test_a_thousand_cancelled_requests_leave_exactly_nothing(steps: int) -> None:
    admission, model, shared_cache = AdmissionControl(), gated(), FakeSharedCache()
    embedder = sharing(admission, model, shared_cache)
    calls = [asyncio.create_task(embedder.embed([f"text {at}"])) for at in range(1000)]
    for _ in range(steps):
        await asyncio.sleep(0)
    for call in calls:
        call.cancel()
    await asyncio.gather(*calls, return_exceptions=True)
    await settle()

    assert admission.stats.queued_tokens == {Priority.INTERACTIVE: 0, Priority.BULK: 0}


async def test_a_computation_that_fails_leaves_nothing() -> None:
    admission = AdmissionControl()
    embedder = sharing(admission, FakeModel())
    with pytest.raises(InvalidInput):
        await embedder.embed(["ok", "x" * 9], EmbedOptions(truncate=Truncate.NONE))
    await settle()

    assert queued(admission) == 0


async def test_the_rate_is_learnt_from_what_the_encoder_reports() -> None:
    now = [0.0]
    admission = AdmissionControl(clock=lambda: now[0])

    class Timed(FakeModel):
        async def encode(
            self, tokens: TokenBatch, *, priority: Priority, deadline: Deadline
        ) -> Encoded:
            now[0] += 0.2
            return await super().encode(tokens, priority=priority, deadline=deadline)

    model = Timed()
    model.queue_s, model.inference_s = 1.0, 0.2
    embedder = sharing(admission, model)
    for number in range(20):
        await embedder.embed([[number, one, 1, 1] for one in range(25)])

    assert admission.stats.tokens_per_s == pytest.approx(500)
    assert admission.stats.admitted == 20


@pytest.mark.usefixtures("virtual_time")
async def test_a_large_request_is_released_chunk_by_chunk() -> None:
    admission, progress = AdmissionControl(), []

    class Watched(FakeModel):
        async def encode(
            self, tokens: TokenBatch, *, priority: Priority, deadline: Deadline
        ) -> Encoded:
            answer = await super().encode(tokens, priority=priority, deadline=deadline)
            progress.append(queued(admission))
            await asyncio.sleep(0.001 * len(progress))
            return answer

    model = Watched()
    answer = await sharing(admission, model).embed([[at, 1, 1, 1, 1] for at in range(60)], RAW)

    assert progress == [300, 300, 300]
    assert len(model.encoded) == 3
    assert answer.vectors[:, 0].tolist() == [at + 4 for at in range(60)]
    assert answer.timings == Timings(answer.timings.tokenization_s, 0.0, 0.0)
    assert queued(admission) == 0
