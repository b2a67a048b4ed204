"""Tell work in a thread that nobody waits for its result any more.

A thread cannot be interrupted, so long work asks between two blocks. The flag belongs to the
context in which the work runs: code far below the thread's entry needs no argument for it.
"""

from __future__ import annotations

from contextvars import ContextVar


class Cancelled(Exception):
    """The work was given up between two blocks, because nobody waits for its result."""


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
    """Return the flag of the current context, None where nobody can cancel."""
    return _current.get()


def is_cancelled() -> bool:
    """Return whether the work of the current context is to stop."""
    cancellation = _current.get()
    return cancellation is not None and cancellation.requested


def stop_if_cancelled() -> None:
    """Stop the work of the current context if nobody waits for its result.

    Raises:
        Cancelled: nobody does.
    """
    if is_cancelled():
        raise Cancelled
