"""A handle seen as a stage: calls that wait together travel together, and lost ones are retried.

A hop costs as much as embedding a sentence, so no call pays for one alone: a few are in the air,
and whatever comes meanwhile gathers in a batcher and leaves as one. Every call carries the seconds
that remain to its callers. Ray's errors end here: what comes out is the library's own tree.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context
from functools import partial
from typing import Any

import grpc
import ray.exceptions
import ray.serve.exceptions
from ray.serve.handle import DeploymentHandle

from deployments.settings import StageSettings
from embedder.batching.batcher import Batcher
from embedder.batching.gathering import GatheringCache, GatheringEncoder, GatheringTokenizer
from embedder.batching.packing import Budget
from embedder.batching.waiting import Terms
from embedder.config import ModelSettings
from embedder.errors import BackendFailure, DeadlineExceeded, EmbedderError, StageUnavailable
from embedder.index.points import CollectionInfo, Hit, Metric, Points, Query
from embedder.tokenization import Piece
from embedder.types import (
    CacheHits,
    Encoded,
    Entries,
    Input,
    TokenBatch,
    Tokenized,
    Truncate,
)

Handle = DeploymentHandle[Any]

RETRIES = 2
"""How often a call is sent again after its replica was lost.

No method does harm when done twice; a deletion that had been done answers that nothing was there.
"""

FLIGHT_CHARACTERS = 200_000
FLIGHT_KEYS = 4096
FLIGHT_QUERIES = 256

_LOST = (
    ray.exceptions.RayActorError,
    ray.exceptions.WorkerCrashedError,
    ray.exceptions.NodeDiedError,
    ray.serve.exceptions.DeploymentUnavailableError,
    ray.serve.exceptions.ReplicaUnavailableError,
    ray.serve.exceptions.RequestCancelledError,
    grpc.aio.AioRpcError,
)


class Remote:
    """One deployment by its handle, ``stage`` being its name in errors."""

    def __init__(self, stage: str, handle: Handle) -> None:
        self.stage = stage
        self._handle = handle

    async def call(self, method: str, *args: Any, deadline: float | None = None) -> Any:
        """Call a method of some replica, again on another one if that is lost.

        Raises:
            DeadlineExceeded: no answer by ``deadline``, which is on ``time.monotonic``.
            StageUnavailable: the replica was lost, and so were those of the retries.
            BackendFailure: the method raised something that is not an `EmbedderError`.
        """
        return await self._answer(partial(self._send, method, args), deadline)

    async def broadcast(self, method: str, *args: Any, deadline: float | None = None) -> list[Any]:
        """Call a method of every replica; return an answer each, or the `EmbedderError` for it.

        For operators: it is sent past the queues, to all at once, and waits for the slowest.

        Raises:
            DeadlineExceeded: one of them has not answered by ``deadline``.
            StageUnavailable: there is no replica.
        """
        answers = await self._answer(partial(self._send_to_all, method, args), deadline)
        return [self._told(one) if isinstance(one, BaseException) else one for one in answers]

    async def _answer(self, send: Callable[[], Awaitable[Any]], deadline: float | None) -> Any:
        for attempt in range(RETRIES + 1):
            try:
                return await asyncio.wait_for(send(), _remaining(deadline))
            # Before the time-outs: a remote TimeoutError is of both classes, and no deadline.
            except ray.exceptions.RayTaskError as error:
                raise _own(error.cause) from error
            except asyncio.TimeoutError:
                raise DeadlineExceeded(self.stage) from None
            except EmbedderError:
                raise
            except _LOST as error:
                if attempt == RETRIES:
                    raise StageUnavailable(self.stage, repr(error)) from error
                remaining_s = _remaining(deadline)
                pause_s = _pause_s(attempt)
                await asyncio.sleep(pause_s if remaining_s is None else min(pause_s, remaining_s))
            except Exception as error:
                raise BackendFailure(repr(error)) from error
        raise AssertionError("the last attempt returns or raises")

    async def _send(self, method: str, args: Sequence[Any]) -> Any:
        # In a context of its own: Serve cancels whatever was sent in that of a request whose client
        # hangs up, and what is sent here is for others too, whoever happened to wake the batch.
        return await Context().run(getattr(self._handle, method).remote, *args)

    async def _send_to_all(self, method: str, args: Sequence[Any]) -> Any:
        sent = Context().run(self._handle.broadcast, method, *args)
        return await sent.results_async(return_exceptions=True)

    def _told(self, error: BaseException) -> EmbedderError:
        """Return what the error of one replica is in the library's own tree."""
        if isinstance(error, ray.exceptions.RayTaskError):
            return _own(error.cause)
        if isinstance(error, (*_LOST, asyncio.CancelledError)):
            return StageUnavailable(self.stage, repr(error))
        return _own(error)


class RemoteTokenizer(GatheringTokenizer):
    """The Tokenizer deployment as the pipeline's stage for one model."""

    def __init__(self, handle: Handle, stage: StageSettings, model: ModelSettings) -> None:
        self._remote = Remote("Tokenizer", handle)
        self._model = model
        super().__init__(
            self._call,
            budget=Budget(max_tokens=FLIGHT_CHARACTERS),
            slots=stage.max_flights,
            cancels=True,
        )

    async def _call(self, inputs: Sequence[Input], truncate: Truncate, terms: Terms) -> Tokenized:
        answer: Tokenized = await self._remote.call(
            "tokenize", self._model, inputs, truncate, deadline=terms.deadline
        )
        return answer

    async def pieces(
        self, texts: Sequence[str], *, add_special_tokens: bool, deadline: float | None
    ) -> list[list[Piece]]:
        """Return every token of every text with its place there; nothing is cut."""
        pieces: list[list[Piece]] = await self._remote.call(
            "pieces", self._model, texts, add_special_tokens, deadline=deadline
        )
        return pieces

    async def decode(
        self, rows: Sequence[Sequence[int]], *, skip_special_tokens: bool, deadline: float | None
    ) -> list[str]:
        """Return the text of every row of ids.

        Raises:
            InvalidInput: an id is not of the vocabulary; the error names it ``ids[row][place]``.
        """
        texts: list[str] = await self._remote.call(
            "decode", self._model, rows, skip_special_tokens, deadline=deadline
        )
        return texts


class RemoteEncoder(GatheringEncoder):
    """The Encoder deployment as the pipeline's stage for one model.

    A flight is at most one batch of the encoder's, of ``max_batch_tokens``.
    """

    def __init__(
        self, handle: Handle, stage: StageSettings, model: ModelSettings, *, max_batch_tokens: int
    ) -> None:
        self._remote = Remote("Encoder", handle)
        self._model = model
        super().__init__(
            self._call,
            budget=Budget(max_tokens=max_batch_tokens),
            slots=stage.max_flights,
            cancels=True,
        )

    async def _call(self, tokens: TokenBatch, terms: Terms) -> Encoded:
        timeout_s = _remaining(terms.deadline)
        encoded: Encoded = await self._remote.call(
            "encode", self._model, tokens, terms.priority, timeout_s, deadline=terms.deadline
        )
        return encoded


class RemoteCache(GatheringCache):
    """An EmbeddingCache deployment as the pipeline's far cache."""

    def __init__(self, handle: Handle) -> None:
        self._remote = Remote("EmbeddingCache-0", handle)
        super().__init__(
            self._look_up, self._insert, budget=Budget(FLIGHT_KEYS, max_items=FLIGHT_KEYS), slots=2
        )

    async def stats(self, deadline: float | None) -> dict[str, int]:
        """Return the shard's counters."""
        stats: dict[str, int] = await self._remote.call("stats", deadline=deadline)
        return stats

    async def _look_up(self, keys: list[bytes], width: int, terms: Terms) -> CacheHits:
        hits: CacheHits = await self._remote.call("get_many", keys, width, deadline=terms.deadline)
        return hits

    async def _insert(self, keys: list[bytes], entries: Entries, terms: Terms) -> None:
        await self._remote.call("put_many", keys, entries, deadline=terms.deadline)


class RemoteIndex:
    """A VectorIndex deployment; concurrent searches travel together."""

    def __init__(self, handle: Handle) -> None:
        self._remote = Remote("VectorIndex-0", handle)
        self._searches: Batcher[Query, list[Hit]] = Batcher(
            self._search, budget=Budget(max_tokens=FLIGHT_QUERIES), slots=2, cancels=True
        )

    async def search(self, queries: Sequence[Query], deadline: float | None) -> list[list[Hit]]:
        """Answer several queries."""
        return await self._searches.submit(queries, [1] * len(queries), deadline=deadline)

    async def upsert(self, name: str, points: Points, deadline: float | None) -> int:
        """Set points of a collection and return its sequence number."""
        return int(await self._remote.call("upsert", name, points, deadline=deadline))

    async def create(self, name: str, metric: Metric, deadline: float | None) -> CollectionInfo:
        """Create a collection, or confirm one that is there."""
        info: CollectionInfo = await self._remote.call("create", name, metric, deadline=deadline)
        return info

    async def collections(self, deadline: float | None) -> list[CollectionInfo]:
        """Return what is known of every collection."""
        infos: list[CollectionInfo] = await self._remote.call("collections", deadline=deadline)
        return infos

    async def describe(self, name: str, deadline: float | None) -> CollectionInfo:
        """Return what is known of a collection."""
        info: CollectionInfo = await self._remote.call("describe", name, deadline=deadline)
        return info

    async def delete(self, name: str, deadline: float | None) -> None:
        """Delete a collection with all its points."""
        await self._remote.call("delete", name, deadline=deadline)

    async def _search(self, queries: list[Query], terms: Terms) -> list[list[Hit]]:
        answers: list[list[Hit]] = await self._remote.call(
            "search", queries, deadline=terms.deadline
        )
        return answers


def _pause_s(attempt: int) -> float:
    """Return a pause that grows; jitter keeps calls that died together from returning together."""
    return 0.1 * 4.0**attempt * (1 + random.random())  # noqa: S311


def _remaining(deadline: float | None) -> float | None:
    return None if deadline is None else max(0.0, deadline - time.monotonic())


def _own(cause: BaseException) -> EmbedderError:
    """Return the library's own error that a replica raised, without the remote traceback."""
    return cause if isinstance(cause, EmbedderError) else BackendFailure(repr(cause))
