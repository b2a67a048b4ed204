"""The timings of a request: reported by the stages and measured by the pipeline."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from types import SimpleNamespace

import pytest

from embedder.core.deadline import Deadline
from embedder.core.types import Input, Timings, Tokenized, Truncate
from tests.unit.fake_model import FakeModel, FakeSharedCache, pipeline, settle


class Timed(FakeModel):
    """Tokenizes one character per second of its clock, and reports given times."""

    def __init__(self, queue_s: float = 0.0, inference_s: float = 0.0) -> None:
        super().__init__()
        self.queue_s, self.inference_s = queue_s, inference_s
        self.now_s = 0.0

    async def tokenize(
        self, inputs: Sequence[Input], *, truncate: Truncate, deadline: Deadline
    ) -> Tokenized:
        self.now_s += sum(map(len, inputs))
        return await super().tokenize(inputs, truncate=truncate, deadline=deadline)


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Timed:
    """Return a model whose clock is that of the pipeline."""
    model = Timed(queue_s=3.0, inference_s=5.0)
    clock = SimpleNamespace(monotonic=lambda: model.now_s)
    monkeypatch.setattr("embedder.pipeline.stage_executor.time", clock)
    return model


async def test_timings_have_the_time_of_each_stage(model: Timed) -> None:
    answer = await pipeline(model).embed(["ab", "cde"])

    assert answer.timings == Timings(tokenization_s=5.0, queue_s=3.0, inference_s=5.0)


async def test_hits_of_the_local_cache_have_no_timings(model: Timed) -> None:
    embedder = pipeline(model)
    await embedder.embed(["ab"])

    assert (await embedder.embed(["ab"])).timings == Timings(0.0, 0.0, 0.0)


async def test_hits_of_the_shared_cache_have_no_timings(model: Timed) -> None:
    shared_cache = FakeSharedCache()
    await pipeline(model, shared_cache).embed(["ab"])
    await settle()

    assert (await pipeline(model, shared_cache).embed(["ab"])).timings == Timings(0.0, 0.0, 0.0)


async def test_an_empty_request_has_no_timings() -> None:
    assert (await pipeline(Timed(1.0, 1.0)).embed([])).timings == Timings(0.0, 0.0, 0.0)


async def test_timings_are_the_longest_of_several_computations(model: Timed) -> None:
    model.gate = asyncio.Event()
    embedder = pipeline(model)
    shared = asyncio.ensure_future(embedder.embed(["long one"]))
    await settle()
    both = asyncio.ensure_future(embedder.embed(["long one", "own"]))
    await settle()
    model.gate.set()

    assert (await both).timings == Timings(tokenization_s=8.0, queue_s=3.0, inference_s=5.0)
    assert (await shared).timings == (await both).timings
