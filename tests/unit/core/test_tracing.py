"""Steps are recorded below the requests that they serve, and cost nothing for others."""

from __future__ import annotations

import asyncio

import pytest
from opentelemetry.trace import StatusCode

from embedder.core.tracing import (
    Traced,
    current,
    current_contexts,
    link_current,
    record,
    serving,
    step,
)
from tests.unit.traces import Traces, context_of, links_of, parent_of, seconds_of


def test_a_step_of_an_untraced_request_is_not_recorded() -> None:
    with step("cache") as span:
        span.set(hits=1)
        span.link(["00-1-1-01"])
        link_current(["00-1-1-01"])
        inner = current()

    assert span.contexts == ()
    assert inner is None
    assert current_contexts() == ()
    assert step("a") is step("b")


def test_a_step_is_a_child_of_the_step_around_it() -> None:
    traces = Traces()
    request = traces.request()
    with serving(request):
        with step("embed"), step("cache") as cache:
            cache.set(hits=2, tier="local")
        with step("encode"):
            pass
    cache_span, embed, encode = traces.ended

    assert [span.name for span in traces.ended] == ["cache", "embed", "encode"]
    assert parent_of(cache_span) == context_of(embed)
    assert [parent_of(embed)] == [parent_of(encode)] == list(request.contexts)
    assert cache_span.attributes == {"replica_id": "r1", "hits": 2, "tier": "local"}
    assert links_of(cache_span) == []
    assert current() is None


def test_a_step_of_several_requests_is_a_child_of_the_first_and_linked_to_each() -> None:
    traces = Traces()
    one, two, three = traces.request(), traces.request(), traces.request()
    with serving(Traced.merged([one, None, two, one, three])), step("batch"):
        inside = current_contexts()
    (batch,) = traces.ended

    assert [parent_of(batch)] == list(one.contexts)
    assert links_of(batch) == [*one.contexts, *two.contexts, *three.contexts]
    assert inside == (context_of(batch),)


@pytest.mark.parametrize("count", [0, 1])
def test_what_no_traced_request_or_one_is_merged_to_is_the_same(count: int) -> None:
    requests = [Traces().request() for _ in range(count)]

    assert Traced.merged([None, *requests, None]) is (requests[0] if requests else None)


def test_a_step_refers_to_other_spans() -> None:
    traces = Traces()
    (other,) = traces.request().contexts
    with serving(traces.request()), step("encode"):
        link_current([other])

    assert links_of(traces.ended[0]) == [other]


def test_work_for_spans_of_another_process_refers_to_nothing_itself() -> None:
    traces = Traces()
    sent = Traced(traces.tracer, traces.request().contexts)
    with serving(sent):
        link_current(sent.contexts)

    assert traces.ended == ()


def test_a_failed_step_names_the_class_of_the_error_and_no_text() -> None:
    traces = Traces()
    with pytest.raises(ValueError, match="secret"), serving(traces.request()), step("encode"):
        raise ValueError("secret")
    (span,) = traces.ended

    assert span.status.status_code is StatusCode.ERROR
    assert span.status.description == "ValueError"
    assert span.events == ()


def test_a_step_that_has_passed_is_recorded_with_its_duration() -> None:
    traces = Traces()
    record("queue", traces.request(), 2.5, texts=3)
    (span,) = traces.ended

    assert seconds_of(span) == pytest.approx(2.5, abs=0.5)
    assert span.attributes == {"replica_id": "r1", "texts": 3}


async def test_a_task_works_for_the_request_that_has_started_it() -> None:
    traces = Traces()
    one, two = traces.request(), traces.request()

    async def work() -> None:
        await asyncio.sleep(0)
        with step("work"):
            await asyncio.sleep(0)

    with serving(one):
        first = asyncio.ensure_future(work())
    with serving(two):
        second = asyncio.ensure_future(work())
    await asyncio.gather(first, second, work())

    assert [parent_of(span) for span in traces.ended] == [*one.contexts, *two.contexts]
