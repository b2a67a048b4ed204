"""Cooperative cancellation of work in threads.

A thread cannot be interrupted, so long work checks a flag between two blocks. The flag is a context
variable, so that functions need no argument for it.
"""

from __future__ import annotations

from contextvars import ContextVar


class Cancelled(Exception):
    """The work stopped because cancellation was requested."""


class Cancellation:
    """A flag that one thread sets and another thread reads."""

    def __init__(self) -> None:
        self.requested = False

    def request(self) -> None:
        """Request that the work stops at its next check."""
        self.requested = True

    def enter(self) -> None:
        """Set this flag as that of the current context."""
        _current.set(self)


_current: ContextVar[Cancellation | None] = ContextVar("cancellation", default=None)


def current_cancellation() -> Cancellation | None:
    """Return the flag of the current context; None: the work cannot be cancelled."""
    return _current.get()


def is_cancelled() -> bool:
    """Return whether cancellation was requested in the current context."""
    cancellation = _current.get()
    return cancellation is not None and cancellation.requested


def stop_if_cancelled() -> None:
    """Stop the work of the current context if cancellation was requested.

    Raises:
        Cancelled: cancellation was requested.
    """
    if is_cancelled():
        raise Cancelled
