"""A trace as text: the order of its steps, their times, and what they shared with others."""

from __future__ import annotations

from dataclasses import replace

from deployments.commands.traces.tree import ReceivedSpan, lines_of

ONE, OTHER = "1" * 32, "2" * 32
ROOT = ReceivedSpan(
    ONE,
    "a",
    "client",
    "POST /v1/embeddings",
    100.0,
    100.05,
    {
        "http.response.status_code": 200,
        "deployment": "Ingress",
        "replica_id": "i1",
        "is_streaming": True,
        "route": "/",
    },
)
ENCODE = ReceivedSpan(ONE, "b", "a", "encode", 100.01, 100.04, {"replica_id": "i1", "tokens": 9})
QUEUE = ReceivedSpan(ONE, "c", "b", "queue", 100.01, 100.02, {"replica_id": "i1"})
BATCH = ReceivedSpan(
    OTHER,
    "d",
    "x",
    "batch",
    100.02,
    100.04,
    {"replica_id": "e1", "texts": 3, "inference_s": 0.0199999},
    ((OTHER, "x"), (ONE, "b")),
)


def test_steps_are_below_their_parents_in_the_order_in_which_they_began() -> None:
    spans = [QUEUE, replace(QUEUE, span_id="e", parent_id="a", name="cache"), ROOT, ENCODE]

    assert list(lines_of(spans, {})) == [
        f"trace {ONE}",
        "   at ms  took ms",
        "     0.0     50.0  POST /v1/embeddings  status_code=200  [Ingress#i1]",
        "    10.0     10.0    cache  [i1]",
        "    10.0     30.0    encode  tokens=9  [i1]",
        "    10.0     10.0      queue  [i1]",
    ]


def test_a_batch_names_the_traces_that_shared_it_and_its_requests_the_batch() -> None:
    encode = replace(ENCODE, links=((OTHER, "d"),))
    known = {span.span_id: span for span in (encode, BATCH)}

    assert list(lines_of([BATCH], known))[2:] == [
        "     0.0     20.0  batch  texts=3  inference_s=0.02  [e1]",
        "                   → encode of trace 11111111, 30.0 ms",
    ]
    assert list(lines_of([encode], known))[3:] == [
        "                   → batch of trace 22222222, 20.0 ms",
    ]
    assert list(lines_of([encode], {}))[3:] == ["                   → of trace 22222222"]


def test_a_failed_step_says_why() -> None:
    (*_, line) = lines_of([replace(ROOT, attributes={}, error="Overloaded")], {})

    assert line == "     0.0     50.0  POST /v1/embeddings  FAILED Overloaded"
