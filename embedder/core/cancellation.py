"""A flag for work in a thread: its result is no longer wanted.

A thread cannot be interrupted, so long work asks between two blocks. The flag belongs to the
context in which the work runs: code far below the thread's entry needs no argument for it.
"""

from __future__ import annotations

from contextvars import ContextVar


class Cancelled(Exception):
    """The work has stopped between two blocks, because its result is no longer wanted."""


class Cancellation:
    """A flag that one thread sets and another one reads."""

    def __init__(self) -> None:
        self.requested = False

    def request(self) -> None:
        """Ask the work to stop at its next check."""
        self.requested = True

    def enter(self) -> None:
        """Make this the flag of the current context."""
        _current.set(self)


_current: ContextVar[Cancellation | None] = ContextVar("cancellation", default=None)


def current_cancellation() -> Cancellation | None:
    """Return the flag of the current context, None for work that cannot be cancelled."""
    return _current.get()


def is_cancelled() -> bool:
    """Return whether the work of the current context is to stop."""
    cancellation = _current.get()
    return cancellation is not None and cancellation.requested


def stop_if_cancelled() -> None:
    """Stop the work of the current context if its result is no longer wanted.

    Raises:
        Cancelled: it is not.
    """
    if is_cancelled():
        raise Cancelled
