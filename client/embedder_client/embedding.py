"""Embeds any number of inputs: several requests in flight, results in the order of the inputs."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from embedder_client import answers
from embedder_client.batches import Input, TokenEstimate, batches
from embedder_client.errors import InvalidRequest, ServiceError
from embedder_client.options import EmbedOptions
from embedder_client.results import Vectors
from embedder_client.transport import Request, Transport

MAX_INPUTS = 2048
"""The most inputs of one request, as OpenAI's API allows."""

Progress = Callable[[int], None]
"""Called with the number of inputs that were embedded since the last call."""


@dataclass(slots=True)
class Embedding:
    """The embedding calls of a client; ``batch_tokens`` are about the tokens of one request."""

    transport: Transport
    model: str | None
    batch_tokens: int
    _estimate: TokenEstimate = field(default_factory=TokenEstimate)

    async def parts(
        self, inputs: Iterable[Input], options: EmbedOptions, progress: Progress | None
    ) -> AsyncGenerator[Vectors, None]:
        """Yield float32[n, width] for the next n inputs, in order.

        Twice as many requests as are in flight are prepared; closing the iterator cancels them.

        Raises:
            ClientError: as `embed_batch`, after the parts before; no later request is sent.
        """
        waiting: deque[asyncio.Task[Vectors]] = deque()
        first = 0
        try:
            for batch in batches(
                inputs, self._estimate, max_tokens=self.batch_tokens, max_inputs=MAX_INPUTS
            ):
                waiting.append(asyncio.create_task(self.embed_batch(batch, options, first)))
                first += len(batch)
                await asyncio.sleep(0)  # sends it before the next inputs are read
                while len(waiting) >= 2 * self.transport.limit.value:
                    yield await _next(waiting, progress)
            while waiting:
                yield await _next(waiting, progress)
        finally:
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)

    async def all(
        self, inputs: Iterable[Input], options: EmbedOptions, progress: Progress | None
    ) -> Vectors:
        """Return float32[n, width], one row per input, in order.

        Raises:
            ClientError: as `parts`.
        """
        async with aclosing(self.parts(inputs, options, progress)) as parts:
            found = [part async for part in parts]
        return np.concatenate(found) if found else np.zeros((0, 0), np.float32)

    async def embed_batch(
        self, batch: Sequence[Input], options: EmbedOptions, first: int = 0
    ) -> Vectors:
        """Return float32[n, width] of inputs that travel in one request.

        ``first`` is the position of the first one in the call. A batch above a limit of the service
        is halved until its parts are not.

        Raises:
            ClientError: as `Transport.send`.
        """
        body = {"input": list(batch), "encoding_format": "base64"} | options.fields()
        try:
            answer = await self.post("v1/embeddings", body, options.timeout_s)
        except ServiceError as error:
            if len(batch) > 1 and _is_too_large(error):
                middle = len(batch) // 2
                halves = [
                    await self.embed_batch(batch[:middle], options, first),
                    await self.embed_batch(batch[middle:], options, first + middle),
                ]
                return np.concatenate(halves)
            error.move(first)
            raise
        vectors, tokens = answers.vectors(answer)
        self._estimate.learn(batch, tokens)
        return vectors

    async def post(self, path: str, body: dict[str, Any], timeout_s: float | None = None) -> Any:
        """Return the answer to a body, to which the model of the client is added.

        Raises:
            ClientError: as `Transport.send`.
        """
        if self.model is not None:
            body = {"model": self.model} | body
        return await self.transport.send(Request("POST", path, body), timeout_s)


async def _next(waiting: deque[asyncio.Task[Vectors]], progress: Progress | None) -> Vectors:
    """Return the first part; if the wait is cancelled, its task is still among those to cancel."""
    vectors = await waiting[0]
    waiting.popleft()
    if progress is not None:
        progress(len(vectors))
    return vectors


def _is_too_large(error: ServiceError) -> bool:
    """Return whether the number of inputs is the problem, and not one of them."""
    if error.status == 413:
        return True
    of_all = error.position is None and error.code in ("limit_exceeded", "")
    return isinstance(error, InvalidRequest) and of_all and error.field in ("input", "")
