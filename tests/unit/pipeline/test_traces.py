"""The steps of a traced request through the pipeline."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import StatusCode

from embedder.batching.packing import Budget
from embedder.batching.queue import BatchContext
from embedder.batching.stages import BatchingEncoder
from embedder.cache.memory import MemoryCache
from embedder.core.errors import Overloaded
from embedder.core.request import Embeddings
from embedder.core.tracing import Traced, current_contexts, serving
from embedder.core.types import Encoded, TokenBatch
from embedder.pipeline.admission_control import AdmissionControl, AdmittedTokens
from embedder.pipeline.pipeline import Pipeline
from embedder.pipeline.stage_executor import Stages
from tests.unit.fake_model import (
    MODEL,
    RAW,
    FakeModel,
    FakeSharedCache,
    pipeline,
    settle,
)
from tests.unit.traces import Traces, context_of, links_of, parent_of


def start(embedder: Pipeline, request: Traced | None, *texts: str) -> asyncio.Task[Embeddings]:
    """Start to embed for a request."""
    with serving(request):
        return asyncio.get_running_loop().create_task(embedder.embed(texts, RAW))


def attributes_of(span: ReadableSpan) -> dict[str, object]:
    """Return the attributes of a span without the name of the replica."""
    assert span.attributes is not None
    return {name: value for name, value in span.attributes.items() if name != "replica_id"}


async def test_every_step_of_a_computed_request_is_a_child_of_its_embedding() -> None:
    traces = Traces()
    request = traces.request()
    await start(pipeline(FakeModel(), FakeSharedCache()), request, "abc", "de", "de")
    await settle()
    (embed,) = traces.named("embed")
    steps = {span.name: span for span in traces.ended}
    local, shared = sorted(traces.named("cache"), key=lambda span: span.start_time or 0)

    assert sorted(traces.names) == [
        "admission",
        "cache",
        "cache",
        "embed",
        "encode",
        "tokenization",
    ]
    assert [parent_of(embed)] == list(request.contexts)
    assert {parent_of(span) for span in traces.ended if span is not embed} == {context_of(embed)}
    assert attributes_of(embed) == {"model": "sums", "texts": 3, "tokens": 7, "cached": 0}
    assert attributes_of(local) == {"tier": "local", "texts": 2, "hits": 0}
    assert attributes_of(shared) == {"tier": "shared", "texts": 2, "hits": 0}
    assert attributes_of(steps["tokenization"]) == {"texts": 2, "tokens": 5}
    assert attributes_of(steps["encode"]) == {"texts": 2, "tokens": 5}


async def test_a_cached_request_has_no_other_step_than_the_lookup() -> None:
    traces, embedder = Traces(), pipeline(FakeModel())
    await start(embedder, None, "abc")
    await start(embedder, traces.request(), "abc")
    cache, embed = traces.ended

    assert attributes_of(cache) == {"tier": "local", "texts": 1, "hits": 1}
    assert attributes_of(embed)["cached"] == 1


async def test_a_request_that_shares_a_computation_refers_to_the_request_that_started_it() -> None:
    traces, model = Traces(), FakeModel()
    model.gate = asyncio.Event()
    embedder = pipeline(model)
    one, two = traces.request(), traces.request()
    tasks = [start(embedder, one, "abc"), start(embedder, two, "abc")]
    await settle()
    model.gate.set()
    await asyncio.gather(*tasks)
    first = next(span for span in traces.named("embed") if [parent_of(span)] == [*one.contexts])
    second = next(span for span in traces.named("embed") if [parent_of(span)] == [*two.contexts])
    (shared,) = traces.named("shared computation")

    assert parent_of(shared) == context_of(second)
    assert links_of(shared) == [context_of(first)]
    assert {parent_of(span) for span in traces.named("encode")} == {context_of(first)}


async def test_a_computation_of_an_untraced_request_is_shared_without_a_reference() -> None:
    traces, model = Traces(), FakeModel()
    model.gate = asyncio.Event()
    embedder = pipeline(model)
    tasks = [start(embedder, None, "abc"), start(embedder, traces.request(), "abc")]
    await settle()
    model.gate.set()
    await asyncio.gather(*tasks)
    (shared,) = traces.named("shared computation")

    assert links_of(shared) == []
    assert sorted(traces.names) == ["cache", "embed", "shared computation"]


async def test_a_refused_request_names_the_step_that_refused_it() -> None:
    class Full(AdmissionControl):
        def admit(self, *_: object) -> AdmittedTokens:
            raise Overloaded(3.0)

    traces, model = Traces(), FakeModel()
    stages = Stages(model, model, MemoryCache(2**20))
    embedder = Pipeline(MODEL, stages, limits=None, admission=Full())
    with pytest.raises(Overloaded):
        await start(embedder, traces.request(), "secret")
    admission, embed = traces.ended[1:]

    assert [admission.name, embed.name] == ["admission", "embed"]
    assert admission.status.description == embed.status.description == "Overloaded"
    assert attributes_of(admission) == {"tokens": 2, "priority": "interactive"}
    assert "secret" not in "".join(span.to_json() for span in traces.ended)


async def test_requests_that_share_a_batch_refer_to_it() -> None:
    """The batch runs in another process, which returns the identity of its span."""
    traces = Traces()
    served: list[tuple[str, ...]] = []
    batch = traces.request().contexts

    async def run(tokens: TokenBatch, context: BatchContext) -> Encoded:
        served.append(current_contexts())
        return Encoded(np.ones((len(tokens), MODEL.width), np.float32), 0.0, 0.1, batches=batch)

    model = FakeModel()
    encoder = BatchingEncoder(run, budget=Budget(max_tokens=1000))
    embedder = Pipeline(MODEL, Stages(model, encoder, MemoryCache(2**20)), limits=None)
    one, two = traces.request(), traces.request()
    await asyncio.gather(
        start(embedder, one, "ab"), start(embedder, two, "c"), start(embedder, None, "d")
    )
    encodes = traces.named("encode")

    assert served == [tuple(map(context_of, encodes))]
    assert [links_of(encode) for encode in encodes] == [list(batch), list(batch)]
    assert all(span.status.status_code is StatusCode.UNSET for span in traces.ended)
