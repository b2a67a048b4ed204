"""Converts large bodies in a thread, one at a time, so that other requests can run.

A small body is converted at once, because a change of threads would take longer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import ParamSpec, TypeVar

from deployments.ingress.middleware.context import RequestContext
from embedder.core.errors import DeadlineExceeded
from embedder.core.time_limit import wait_within

P = ParamSpec("P")
T = TypeVar("T")

INLINE_BYTES = 256 * 1024
"""Bytes up to which a body is converted on the event loop: typically in 3 ms, at most in 35 ms,
or in 55 ms to locate a lone surrogate in nested lists.
"""

# One thread, because a parsed document takes up to ten times its bytes, and more threads would
# compete for the interpreter lock.
_THREAD = ThreadPoolExecutor(1, thread_name_prefix="large-bodies")


async def convert_body(
    context: RequestContext, work: Callable[P, T], *args: P.args, **named: P.kwargs
) -> T:
    """Run ``work``, which converts the body of a request, and return its result.

    For a large body it runs in a thread, where no step may hold the interpreter lock for long.

    Raises:
        DeadlineExceeded: this body and those before it take too long. Work that has not started
            at the deadline is not run.
    """
    if context.body_bytes <= INLINE_BYTES:
        return work(*args, **named)
    call = partial(work, *args, **named)
    done = asyncio.get_running_loop().run_in_executor(_THREAD, call)
    try:
        return await wait_within(done, context.remaining_s())
    except asyncio.TimeoutError:
        raise DeadlineExceeded("thread that reads large bodies") from None
