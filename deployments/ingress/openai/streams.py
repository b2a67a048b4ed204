"""Computes a large request in chunks, a few at a time, and yields the chunks in order.

The response starts after the first chunk, so a refusal of that has its HTTP status.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from deployments.ingress.wire.inputs import check_count
from embedder.core.deadline import Deadline
from embedder.core.errors import InvalidInput, Overloaded
from embedder.core.types import Input
from embedder.pipeline.streaming import renumbered

CHUNK = 64
"""Inputs of one chunk: enough short texts to fill a batch."""

AHEAD = 3
"""Chunks that are computed while one chunk is sent."""


AnswerT = TypeVar("AnswerT")


@dataclass(frozen=True, slots=True)
class Request(Generic[AnswerT]):
    """One request for a stream: ``compute`` returns the results of ``chunk`` inputs or fewer."""

    compute: Callable[[Sequence[Input]], Awaitable[AnswerT]]
    inputs: Sequence[Input]
    deadline: Deadline
    max_inputs: int
    chunk: int = CHUNK


@dataclass(frozen=True, slots=True)
class Chunk(Generic[AnswerT]):
    """The results of some inputs, and the number of the first one."""

    first: int
    answer: AnswerT


async def begin(request: Request[AnswerT]) -> AsyncIterator[Chunk[AnswerT]]:
    """Return all chunks in order, once the first one has been computed.

    Raises:
        EmbedderError: as ``compute`` for the first chunk; later ones raise as they are read.
    """
    check_count("input", len(request.inputs), request.max_inputs)
    chunks = _in_order(request)
    return _with_first(await anext(chunks), chunks)


async def _with_first(
    first: Chunk[AnswerT], rest: AsyncIterator[Chunk[AnswerT]]
) -> AsyncIterator[Chunk[AnswerT]]:
    yield first
    async for chunk in rest:
        yield chunk


async def _in_order(request: Request[AnswerT]) -> AsyncIterator[Chunk[AnswerT]]:
    starts = iter(range(0, len(request.inputs), request.chunk))
    running: deque[asyncio.Task[Chunk[AnswerT]]] = deque()
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


async def _compute(request: Request[AnswerT], first: int) -> Chunk[AnswerT]:
    """Compute one chunk; if the service is full, wait and retry, except for the first chunk."""
    inputs = request.inputs[first : first + request.chunk]
    while True:
        try:
            return Chunk(first, await request.compute(inputs))
        except Overloaded as error:
            if first == 0 or error.retry_after_s >= request.deadline.remaining_s():
                raise
            await asyncio.sleep(error.retry_after_s)
        except InvalidInput as error:
            raise renumbered(error, first) from None
