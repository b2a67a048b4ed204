"""Deadlines: the point of time by which a caller needs its result.

Within a process a deadline is a number on ``time.monotonic``, so that the smaller of two is the
earlier one. Every process has a clock of its own: a pickled deadline holds the seconds that
remain, and is rebuilt from them by the process that receives it.
"""

from __future__ import annotations

import asyncio
import math
import sys
import time
from contextlib import AbstractAsyncContextManager
from typing import Any

if sys.version_info >= (3, 11):
    from asyncio import timeout
else:
    from async_timeout import timeout


class Deadline(float):
    """A point of time on ``time.monotonic``, in seconds; `NEVER` is infinity."""

    __slots__ = ()

    @classmethod
    def after(cls, seconds: float | None) -> Deadline:
        """Return the deadline that is ``seconds`` from now; None: `NEVER`."""
        return NEVER if seconds is None else cls(time.monotonic() + seconds)

    @property
    def expired(self) -> bool:
        """Tell whether the deadline has passed."""
        return time.monotonic() >= self

    def remaining_s(self) -> float:
        """Return the seconds until the deadline: at least 0, and infinity for `NEVER`."""
        return max(0.0, self - time.monotonic())

    def limit(self) -> AbstractAsyncContextManager[object]:
        """Return a context manager that cancels the ``async with`` block at the deadline.

        ``asyncio.wait_for`` of Python 3.10 and 3.11 drops a cancellation of the caller if the
        awaited work ends in the same iteration of the event loop; the context manager keeps it.

        Raises:
            asyncio.TimeoutError: the deadline has passed, so the block must not start. The context
                manager raises it at the end of a block that was cancelled.
        """
        if self == math.inf:
            return timeout(None)
        left_s = self - time.monotonic()
        if left_s <= 0:
            raise asyncio.TimeoutError
        return timeout(left_s)

    def __reduce__(self) -> tuple[Any, ...]:
        # A function of the module: Ray would send a method with its code, but without its module.
        return _received, (self.remaining_s(),)


def _received(remaining_s: float) -> Deadline:
    return Deadline.after(remaining_s)


NEVER = Deadline(math.inf)
"""The deadline of work that may take any time."""
