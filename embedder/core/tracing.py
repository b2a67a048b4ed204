"""The steps of traced requests, recorded as spans.

The work of a context (a task, and the tasks that it starts) serves requests, whose spans are the
parents of its steps. Most requests are not traced: a step of theirs costs one look at a context
variable. The library needs no OpenTelemetry: a service brings a `Tracer`.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from itertools import chain
from types import TracebackType
from typing import Protocol, TypeAlias

SpanContext: TypeAlias = str
"""The identity of a span in any process, as in the header ``traceparent`` of W3C Trace Context."""

Attribute: TypeAlias = str | int | float | bool
"""A name or a number: never a text, a vector or a key of a client."""


class Span(Protocol):
    """One step while it is recorded."""

    @property
    def contexts(self) -> tuple[SpanContext, ...]:
        """Return the identity of this span; nothing if it is not recorded."""

    def set(self, **attributes: Attribute) -> None:
        """Set attributes."""

    def link(self, others: Iterable[SpanContext]) -> None:
        """Refer to other spans."""

    def end(self, error: BaseException | None) -> None:
        """End the step; ``error`` is why it failed."""


class Tracer(Protocol):
    """Records spans."""

    def start(self, name: str, parents: Sequence[SpanContext], ago_s: float) -> Span:
        """Start a step that began ``ago_s`` seconds ago.

        It is a child of the first parent. If there are several, it is linked to each of them.
        """


@dataclass(frozen=True, slots=True)
class Traced:
    """The spans that some work serves; ``span`` is set if this process records it."""

    tracer: Tracer
    contexts: tuple[SpanContext, ...]
    span: Span | None = None

    @classmethod
    def merged(cls, works: Iterable[Traced | None]) -> Traced | None:
        """Return what several works serve together, or None if none is traced."""
        traced = [work for work in works if work is not None]
        if len(traced) < 2:
            return traced[0] if traced else None
        distinct = dict.fromkeys(chain.from_iterable(work.contexts for work in traced))
        return cls(traced[0].tracer, tuple(distinct))


_current: ContextVar[Traced | None] = ContextVar("traced", default=None)


def current() -> Traced | None:
    """Return what the work of this context serves; None: no traced request."""
    return _current.get()


def current_contexts() -> tuple[SpanContext, ...]:
    """Return the spans that the work of this context serves, to be sent to another process."""
    traced = _current.get()
    return () if traced is None else traced.contexts


def link_current(others: Iterable[SpanContext]) -> None:
    """Let the present step refer to other spans."""
    traced = _current.get()
    if traced is not None and traced.span is not None:
        traced.span.link(others)


@contextmanager
def serving(traced: Traced | None) -> Iterator[None]:
    """Let the work of the ``with`` block serve other requests than its context does."""
    token = _current.set(traced)
    try:
        yield
    finally:
        _current.reset(token)


def serve(traced: Traced | None) -> None:
    """Let the rest of this task serve other requests than the context in which it has started."""
    _current.set(traced)


def step(name: str) -> AbstractContextManager[Span]:
    """Record the ``with`` block as a step of the requests that it serves."""
    traced = _current.get()
    return _UNTRACED if traced is None else _Step(traced, name)


def record_since(began_s: float, name: str, **attributes: Attribute) -> None:
    """Record a step that began at ``began_s`` on ``time.monotonic`` and ends now.

    It costs an untraced request less than `step`, and suits steps that cannot fail and call no
    other process.
    """
    traced = _current.get()
    if traced is not None:
        record(name, traced, time.monotonic() - began_s, **attributes)


def record(name: str, traced: Traced, ago_s: float, **attributes: Attribute) -> None:
    """Record a step that began ``ago_s`` seconds ago and ends now."""
    span = traced.tracer.start(name, traced.contexts, ago_s)
    span.set(**attributes)
    span.end(None)


class _Step:
    """A block that is recorded; the steps in it are its children."""

    def __init__(self, traced: Traced, name: str) -> None:
        self._traced = traced
        self._name = name

    def __enter__(self) -> Span:
        tracer = self._traced.tracer
        self._span = tracer.start(self._name, self._traced.contexts, 0.0)
        self._token = _current.set(Traced(tracer, self._span.contexts, self._span))
        return self._span

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        _current.reset(self._token)
        self._span.end(error)


class _Untraced:
    """The block and the span of a step that is not recorded."""

    contexts: tuple[SpanContext, ...] = ()

    def __enter__(self) -> Span:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def set(self, **attributes: Attribute) -> None:
        pass

    def link(self, others: Iterable[SpanContext]) -> None:
        pass

    def end(self, error: BaseException | None) -> None:
        pass


_UNTRACED = _Untraced()
