"""Reading large bodies beside the event loop, one at a time, so that other requests go on.

A small body is read at once: handing it to a thread would cost more than reading it.
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
"""Bytes of the largest body that is read on the event loop: 3 ms typically, 35 ms at most.

A lone surrogate in a text among nested lists is named in 55 ms.
"""

# One thread: a document in parts takes up to ten times its bytes, and more threads would only
# compete for the interpreter.
_THREAD = ThreadPoolExecutor(1, thread_name_prefix="large-bodies")


async def convert_body(
    context: RequestContext, work: Callable[P, T], *args: P.args, **named: P.kwargs
) -> T:
    """Return what ``work`` returns, which converts a part of the request's body.

    For a large body it runs in a thread; it must not hold the interpreter for long.

    Raises:
        DeadlineExceeded: the bodies before it, and its own, take longer than the request may. Work
            that has not begun by then is left out.
    """
    if context.body_bytes <= INLINE_BYTES:
        return work(*args, **named)
    call = partial(work, *args, **named)
    done = asyncio.get_running_loop().run_in_executor(_THREAD, call)
    try:
        return await wait_within(done, context.remaining_s())
    except asyncio.TimeoutError:
        raise DeadlineExceeded("thread that reads large bodies") from None
