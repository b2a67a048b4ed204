"""``embedder traces``: prints the traces that a service on this machine sends, as trees."""

from __future__ import annotations

import argparse
import threading
import time
from collections.abc import Iterator, Sequence

from deployments.commands.arguments import Commands, add_command
from deployments.commands.traces.tree import ReceivedSpan, lines_of

PORT = 4318
"""The port of OTLP over HTTP, to which an exporter sends if no variable names another."""

QUIET_S = 7.0
"""Seconds without a span after which a trace is complete: replicas send their spans every 5 s."""

MAX_TRACES = 1000
"""Traces that are kept, because others may refer to their spans."""


def add(commands: Commands) -> None:
    """Add the command and its arguments."""
    traces = add_command(
        commands, "traces", run, "print the traces that a service on this machine sends"
    )
    traces.add_argument("--port", type=int, default=PORT, help=f"of the receiver ({PORT})")


def run(options: argparse.Namespace) -> None:
    """Print each trace when it is complete, until interrupted."""
    from deployments.commands.traces.receiver import HOST, PATH, receiving

    traces = ReceivedTraces()
    with receiving(traces.receive, options.port):
        print(f"receives traces at http://{HOST}:{options.port}{PATH}, Ctrl-C ends it", flush=True)
        while True:
            time.sleep(1.0)
            for line in traces.take_lines(time.monotonic()):
                print(line, flush=True)


class ReceivedTraces:
    """The traces that have been received; other threads may call `receive` at any time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._traces: dict[str, list[ReceivedSpan]] = {}
        self._spans: dict[str, ReceivedSpan] = {}
        self._waiting: dict[str, float] = {}
        self._dropped = 0

    def receive(self, spans: Sequence[ReceivedSpan]) -> None:
        """Add the spans of one message."""
        with self._lock:
            for span in spans:
                self._traces.setdefault(span.trace_id, []).append(span)
                self._spans[span.span_id] = span
                self._waiting[span.trace_id] = time.monotonic()
            while len(self._traces) > MAX_TRACES:
                oldest = next(iter(self._traces))
                self._dropped += self._waiting.pop(oldest, None) is not None
                for span in self._traces.pop(oldest):
                    self._spans.pop(span.span_id, None)

    def take_lines(self, now_s: float) -> Iterator[str]:
        """Yield the lines of every trace that is complete and has not been printed yet.

        The first line tells how many traces have been dropped before they were printed, if any.
        """
        with self._lock:  # not while a line is printed: the terminal may be slow
            lines = list(self._complete(now_s))
            dropped, self._dropped = self._dropped, 0
        if dropped:
            reason = f"more than {MAX_TRACES} came"
            yield f"{dropped} traces were dropped before they were printed: {reason}"
        yield from lines

    def _complete(self, now_s: float) -> Iterator[str]:
        for trace_id, last_s in list(self._waiting.items()):
            if now_s - last_s >= QUIET_S:
                del self._waiting[trace_id]
                yield from lines_of(self._traces[trace_id], self._spans)
                yield ""
