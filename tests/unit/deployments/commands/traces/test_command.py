"""Which traces are printed, and when."""

from __future__ import annotations

import time
from itertools import count

import pytest

from deployments.commands.traces import command
from deployments.commands.traces.command import QUIET_S, ReceivedTraces
from deployments.commands.traces.tree import ReceivedSpan
from tests.unit.manual_clock import ManualClock

_numbers = count()


def _span(trace: str, *links: tuple[str, str]) -> ReceivedSpan:
    return ReceivedSpan(trace, f"s{next(_numbers)}", "", "step", 1.0, 2.0, {}, links)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> ManualClock:
    """Return the clock of the command."""
    clock = ManualClock(50.0)
    monkeypatch.setattr(time, "monotonic", clock)
    return clock


def _printed(traces: ReceivedTraces, clock: ManualClock) -> list[str]:
    return [line for line in traces.take_lines(clock.now) if line.startswith("trace")]


def test_a_trace_is_printed_once_when_no_more_spans_of_it_have_come(clock: ManualClock) -> None:
    traces = ReceivedTraces()
    traces.receive([_span("a"), _span("b")])
    clock.now += 5
    traces.receive([_span("a")])
    clock.now += QUIET_S - 0.5
    first = _printed(traces, clock)
    clock.now += 0.5

    assert first == ["trace b"]
    assert _printed(traces, clock) == ["trace a"]
    assert _printed(traces, clock) == []


def test_a_printed_trace_is_known_to_later_ones(clock: ManualClock) -> None:
    traces, batch = ReceivedTraces(), _span("a")
    traces.receive([batch])
    clock.now += QUIET_S
    _printed(traces, clock)
    traces.receive([_span("b", ("a", batch.span_id))])
    clock.now += QUIET_S

    assert any("→ step of trace a" in line for line in traces.take_lines(clock.now))


def test_the_oldest_traces_are_dropped_and_those_not_printed_are_counted(
    clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "MAX_TRACES", 2)
    traces = ReceivedTraces()
    traces.receive([_span("printed")])
    clock.now += QUIET_S
    _printed(traces, clock)
    for name in ("a", "b", "c"):
        traces.receive([_span(name)])
    clock.now += QUIET_S
    lines = list(traces.take_lines(clock.now))

    assert lines[0] == "1 traces were dropped before they were printed: more than 2 came"
    assert [line for line in lines if line.startswith("trace")] == ["trace b", "trace c"]
    assert list(traces.take_lines(clock.now)) == []


def test_traces_may_be_dropped_while_lines_are_printed(
    clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Messages come in other threads, while a line waits for its terminal."""
    monkeypatch.setattr(command, "MAX_TRACES", 2)
    traces = ReceivedTraces()
    traces.receive([_span("a"), _span("b")])
    clock.now += QUIET_S
    lines = traces.take_lines(clock.now)
    first = next(lines)
    traces.receive([_span("c"), _span("d")])

    assert first == "trace a"
    assert [line for line in lines if line.startswith("trace")] == ["trace b"]
    clock.now += QUIET_S
    assert _printed(traces, clock) == ["trace c", "trace d"]
