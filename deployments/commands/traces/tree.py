"""A trace as lines of text: when each step began, how long it took, and what it shared."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

HIDDEN = frozenset(
    {
        *("app", "call_method", "deployment", "is_streaming", "multiplexed_model_id"),
        *("replica_id", "request_type", "resource.name", "route"),
        *("http.method", "http.request.method", "http.route", "http.status_code"),
    }
)
"""Attributes that a line does not show; most are those of Serve's own spans."""

SHOWN_ID = 8
"""Digits of a trace's id where a line refers to it."""


@dataclass(frozen=True, slots=True)
class ReceivedSpan:
    """One span; the ids are in hexadecimal, and ``parent_id`` is empty for a root.

    ``links`` are the ids of traces and spans. ``error`` is why the step failed.
    """

    trace_id: str
    span_id: str
    parent_id: str
    name: str
    start_s: float
    end_s: float
    attributes: Mapping[str, object]
    links: tuple[tuple[str, str], ...] = ()
    error: str | None = None


def lines_of(trace: Sequence[ReceivedSpan], known: Mapping[str, ReceivedSpan]) -> Iterator[str]:
    """Yield the lines of one trace; ``known`` has the spans of all traces by their ids."""
    own = {span.span_id for span in trace}
    children: defaultdict[str, list[ReceivedSpan]] = defaultdict(list)
    for span in sorted(trace, key=lambda span: span.start_s):
        children[span.parent_id if span.parent_id in own else ""].append(span)
    began_s = min(span.start_s for span in trace)
    yield f"trace {trace[0].trace_id}"
    yield "   at ms  took ms"
    for depth, span in _in_order(children, "", 0):
        at_ms, took_ms = 1e3 * (span.start_s - began_s), 1e3 * (span.end_s - span.start_s)
        yield f"{at_ms:8.1f} {took_ms:8.1f}  {'  ' * depth}{_described(span)}"
        for other, span_id in span.links:
            if other != span.trace_id:
                yield f"{'':19}{'  ' * depth}→ {_linked(other, known.get(span_id))}"


def _in_order(
    children: Mapping[str, Sequence[ReceivedSpan]], parent: str, depth: int
) -> Iterator[tuple[int, ReceivedSpan]]:
    for span in children.get(parent, ()):
        yield depth, span
        yield from _in_order(children, span.span_id, depth + 1)


def _described(span: ReceivedSpan) -> str:
    shown = [
        f"{name.rpartition('.')[2]}={round(value, 4) if isinstance(value, float) else value}"
        for name, value in span.attributes.items()
        if name not in HIDDEN
    ]
    names = (span.attributes.get(name) for name in ("deployment", "replica_id"))
    where = "#".join(str(name) for name in names if name)
    failed = [] if span.error is None else [f"FAILED {span.error}".strip()]
    return "  ".join([span.name, *failed, *shown, *([f"[{where}]"] if where else [])])


def _linked(trace_id: str, span: ReceivedSpan | None) -> str:
    of = f"of trace {trace_id[:SHOWN_ID]}"
    if span is None:
        return of
    return f"{span.name} {of}, {1e3 * (span.end_s - span.start_s):.1f} ms"
