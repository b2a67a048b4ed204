"""A large request in chunks: computed a few at a time, and answered in order as they are ready.

The first chunk is waited for before anything is sent, so what is refused at once is refused with
its status. Knows nothing of how answers are written.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace

from deployments.ingress.middleware.context import RequestContext
from deployments.ingress.service.service import Service
from embedder.core.errors import InvalidInput, LimitExceeded, Overloaded
from embedder.core.request import Embeddings, EmbedOptions
from embedder.core.types import Input
from embedder.pipeline.streaming import renumbered

CHUNK = 64
"""Inputs that are computed together: enough to fill a batch of short ones."""

AHEAD = 3
"""Chunks that are computed while one is sent."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request for a stream."""

    service: Service
    inputs: Sequence[Input]
    options: EmbedOptions
    model: str | None
    context: RequestContext


@dataclass(frozen=True, slots=True)
class Chunk:
    """The answer for some inputs, and the number of the first of them."""

    first: int
    answer: Embeddings


async def begin(request: Request) -> AsyncIterator[Chunk]:
    """Return all chunks in order, once the first of them has been computed.

    Raises:
        EmbedderError: as `Service.embed` for the first chunk; later ones raise as they are read.
    """
    limit = request.service.settings.limits.max_inputs
    if len(request.inputs) > limit:
        raise LimitExceeded("input", "items", len(request.inputs), limit)
    chunks = _in_order(request)
    return _with_first(await anext(chunks), chunks)


async def _with_first(first: Chunk, rest: AsyncIterator[Chunk]) -> AsyncIterator[Chunk]:
    yield first
    async for chunk in rest:
        yield chunk


async def _in_order(request: Request) -> AsyncIterator[Chunk]:
    starts = iter(range(0, len(request.inputs), CHUNK))
    running: deque[asyncio.Task[Chunk]] = deque()
    try:
        while True:
            while len(running) <= AHEAD and (first := next(starts, None)) is not None:
                running.append(asyncio.ensure_future(_compute(request, first)))
            if not running:
                return
            chunk = await running[0]
            running.popleft()
            yield chunk
    finally:
        for task in running:
            task.cancel()
        # Retrieved, so that an error which nobody reads any more is no warning.
        await asyncio.gather(*running, return_exceptions=True)


async def _compute(request: Request, first: int) -> Chunk:
    """Compute one chunk; one that is not the first waits where the service is full."""
    context = request.context
    inputs = request.inputs[first : first + CHUNK]
    while True:
        options = replace(request.options, timeout_s=context.remaining_s())
        try:
            return Chunk(first, await request.service.embed(inputs, options, model=request.model))
        except Overloaded as error:
            if first == 0 or error.retry_after_s >= context.remaining_s():
                raise
            await asyncio.sleep(error.retry_after_s)
        except InvalidInput as error:
            raise renumbered(error, first) from None
