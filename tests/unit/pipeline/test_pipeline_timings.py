"""Where the time of a request went: what the stages report, and what the pipeline measures."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from types import SimpleNamespace

import pytest

from embedder.core.types import Input, Timings, Tokenized, Truncate
from tests.unit.fake_model import FakeModel, FakeSharedCache, pipeline, settle


class Timed(FakeModel):
    """Tokenizes at a second a character by its own clock, and reports the times it is given."""

    def __init__(self, queue_s: float = 0.0, inference_s: float = 0.0) -> None:
        super().__init__()
        self.queue_s, self.inference_s = queue_s, inference_s
        self.now_s = 0.0

    async def tokenize(
        self, inputs: Sequence[Input], *, truncate: Truncate, deadline: float | None
    ) -> Tokenized:
        self.now_s += sum(map(len, inputs))
        return await super().tokenize(inputs, truncate=truncate, deadline=deadline)


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Timed:
    """Return a model by whose clock the pipeline measures."""
    model = Timed(queue_s=3.0, inference_s=5.0)
    clock = SimpleNamespace(monotonic=lambda: model.now_s)
    monkeypatch.setattr("embedder.pipeline.stage_executor.time", clock)
    return model


async def test_an_answer_tells_how_long_each_stage_took(model: Timed) -> None:
    answer = await pipeline(model).embed(["ab", "cde"])

    assert answer.timings == Timings(tokenization_s=5.0, queue_s=3.0, inference_s=5.0)


async def test_what_the_near_cache_has_takes_no_time(model: Timed) -> None:
    embedder = pipeline(model)
    await embedder.embed(["ab"])

    assert (await embedder.embed(["ab"])).timings == Timings(0.0, 0.0, 0.0)


async def test_what_the_far_cache_has_takes_no_time(model: Timed) -> None:
    far = FakeSharedCache()
    await pipeline(model, far).embed(["ab"])
    await settle()

    assert (await pipeline(model, far).embed(["ab"])).timings == Timings(0.0, 0.0, 0.0)


async def test_nothing_takes_no_time() -> None:
    assert (await pipeline(Timed(1.0, 1.0)).embed([])).timings == Timings(0.0, 0.0, 0.0)


async def test_of_several_computations_the_longest_time_of_each_part_counts(model: Timed) -> None:
    model.gate = asyncio.Event()
    embedder = pipeline(model)
    shared = asyncio.ensure_future(embedder.embed(["long one"]))
    await settle()
    both = asyncio.ensure_future(embedder.embed(["long one", "own"]))
    await settle()
    model.gate.set()

    assert (await both).timings == Timings(tokenization_s=8.0, queue_s=3.0, inference_s=5.0)
    assert (await shared).timings == (await both).timings
