"""Embeds a large request in chunks, a few at a time, and yields the chunks in order.

The response starts after the first chunk, so a refusal of that has its HTTP status.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from deployments.ingress.middleware.context import RequestContext
from deployments.ingress.service.service import Service
from deployments.ingress.wire.inputs import check_count
from embedder.core.errors import InvalidInput, Overloaded
from embedder.core.request import Embeddings, EmbedOptions
from embedder.core.types import Input
from embedder.pipeline.streaming import renumbered

CHUNK = 64
"""Inputs of one chunk: enough short texts to fill a batch."""

AHEAD = 3
"""Chunks that are computed while one chunk is sent."""


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
    """The embeddings of some inputs, and the number of the first one."""

    first: int
    answer: Embeddings


async def begin(request: Request) -> AsyncIterator[Chunk]:
    """Return all chunks in order, once the first one has been computed.

    Raises:
        EmbedderError: as `Service.embed` for the first chunk; later ones raise as they are read.
    """
    check_count("input", len(request.inputs), request.service.settings.limits.max_inputs)
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
        # Awaited, so that asyncio does not log their exceptions.
        await asyncio.gather(*running, return_exceptions=True)


async def _compute(request: Request, first: int) -> Chunk:
    """Compute one chunk; if the service is full, wait and retry, except for the first chunk."""
    deadline = request.context.deadline
    inputs = request.inputs[first : first + CHUNK]
    while True:
        try:
            embeddings = await request.service.embed(
                inputs, request.options, deadline, model=request.model
            )
            return Chunk(first, embeddings)
        except Overloaded as error:
            if first == 0 or error.retry_after_s >= deadline.remaining_s():
                raise
            await asyncio.sleep(error.retry_after_s)
        except InvalidInput as error:
            raise renumbered(error, first) from None
