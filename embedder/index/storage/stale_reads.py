"""Marks reads that may miss the latest writes, so that any host of a database may answer them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_may_be_stale: ContextVar[bool] = ContextVar("may_be_stale", default=False)


@contextmanager
def stale_reads() -> Iterator[None]:
    """Let the reads of the block in this context miss the latest writes."""
    token = _may_be_stale.set(True)
    try:
        yield
    finally:
        _may_be_stale.reset(token)


def may_be_stale() -> bool:
    """Say whether the reads of this context may miss the latest writes."""
    return _may_be_stale.get()
