"""Calls to a deployment through its handle: with retries, deadlines, and the library's errors.

Large calls go through Ray's object store; so does a call that gRPC refused for its size. A call
that is late is sent again before its replica is known to be lost.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any

import grpc
import ray.exceptions
import ray.serve.exceptions
from ray.serve.handle import DeploymentHandle

from deployments.rpc.call_stats import CALL_STATS
from deployments.rpc.hedging import HedgedCalls
from deployments.rpc.message_size import LARGE_BYTES
from deployments.rpc.running_replicas import replica_ids
from deployments.tracing.tracer import call_context
from embedder.core.deadline import NEVER, Deadline
from embedder.core.errors import BackendFailure, DeadlineExceeded, EmbedderError, StageUnavailable

Handle = DeploymentHandle[Any]

RETRIES = 2
"""How often a call is repeated after its replica was lost.

All methods can safely run twice, even at the same time. A deletion that had already succeeded
reports that it deleted nothing.
"""

_LOST = (
    ray.exceptions.RayActorError,
    ray.exceptions.WorkerCrashedError,
    ray.exceptions.NodeDiedError,
    ray.serve.exceptions.DeploymentUnavailableError,
    ray.serve.exceptions.ReplicaUnavailableError,
    ray.serve.exceptions.RequestCancelledError,
    grpc.aio.AioRpcError,
)


class _MessageTooLarge(StageUnavailable):
    """The request or its answer exceeds the message size limit of gRPC."""


class HandleClient:
    """Calls one deployment through its handle; ``stage`` names it in errors."""

    def __init__(self, stage: str, handle: Handle) -> None:
        self.stage = stage
        self._handle = handle
        self._context = call_context()
        CALL_STATS.expect(stage)
        self._hedged = HedgedCalls(stage, _LOST, partial(replica_ids, handle))

    async def call(
        self,
        method: str,
        *args: Any,
        size: int = 0,
        deadline: Deadline = NEVER,
        once: bool = False,
    ) -> Any:
        """Call a method of one replica; if that replica is lost, repeat the call on another one.

        A call that is late for this deployment is repeated without giving up the first attempt,
        unless it has no deadline or is to run ``once``.

        ``size`` is the estimated bytes of the arguments or of the answer, whichever is larger.

        Raises:
            DeadlineExceeded: no answer by ``deadline``.
            StageUnavailable: the replica was lost, and so were the replicas of all retries.
            BackendFailure: the method raised an error that is not an `EmbedderError`.
        """
        send = partial(self._send, method, args)
        by_reference = size > LARGE_BYTES
        while True:
            try:
                attempt = partial(send, by_reference=by_reference)
                hedged = partial(self._hedged.answer, attempt, deadline, once=once)
                return await self._answer(hedged, deadline)
            except _MessageTooLarge as error:
                if by_reference:
                    raise StageUnavailable(self.stage, error.reason) from error
                by_reference = True

    async def broadcast(self, method: str, *args: Any, deadline: Deadline = NEVER) -> list[Any]:
        """Call a method of every replica; return an answer or an `EmbedderError` for each.

        For operators: the calls bypass the queues, start together, and wait for the slowest.

        Raises:
            DeadlineExceeded: a replica has not answered by ``deadline``.
            StageUnavailable: there is no replica.
        """
        answers = await self._answer(partial(self._send_to_all, method, args), deadline)
        return [
            self._embedder_error(answer) if isinstance(answer, BaseException) else answer
            for answer in answers
        ]

    async def _answer(self, send: Callable[[], Awaitable[Any]], deadline: Deadline) -> Any:
        for attempt in range(RETRIES + 1):
            try:
                async with deadline.limit():
                    return await send()
            # Before the timeouts: a remote TimeoutError has both classes, and is not our deadline.
            except ray.exceptions.RayTaskError as error:
                raise _unwrapped(error.cause) from error
            except asyncio.TimeoutError:
                raise DeadlineExceeded(self.stage) from None
            except EmbedderError:
                raise
            except _LOST as error:
                if attempt == RETRIES or _is_too_large(error):
                    raise _unavailable(self.stage, error) from error
                CALL_STATS.retries[self.stage] += 1
                await asyncio.sleep(_pause_s(attempt, deadline))
            except Exception as error:
                raise BackendFailure(repr(error)) from error
        raise AssertionError("the last attempt returns or raises")

    def _send(self, method: str, args: Sequence[Any], *, by_reference: bool) -> Awaitable[Any]:
        handle = self._handle.options(_by_reference=True) if by_reference else self._handle
        # In a new context: when a client disconnects, Serve cancels the calls sent in the context
        # of its request, but a batch also serves other requests.
        context = self._context.copy()
        response: Awaitable[Any] = context.run(getattr(handle, method).remote, *args)
        return response

    async def _send_to_all(self, method: str, args: Sequence[Any]) -> Any:
        sent = self._context.copy().run(self._handle.broadcast, method, *args)
        return await sent.results_async(return_exceptions=True)

    def _embedder_error(self, error: BaseException) -> EmbedderError:
        """Return the library's error for the error of one replica."""
        if isinstance(error, ray.exceptions.RayTaskError):
            return _unwrapped(error.cause)
        if isinstance(error, (*_LOST, asyncio.CancelledError)):
            return StageUnavailable(self.stage, repr(error))
        return _unwrapped(error)


def _pause_s(attempt: int, deadline: Deadline) -> float:
    """Return a growing pause; jitter spreads the retries of calls that failed together."""
    pause_s = 0.1 * 4.0**attempt * (1 + random.random())  # noqa: S311
    return min(pause_s, deadline.remaining_s())


def _unavailable(stage: str, error: Exception) -> StageUnavailable:
    kind = _MessageTooLarge if _is_too_large(error) else StageUnavailable
    return kind(stage, repr(error))


def _is_too_large(error: Exception) -> bool:
    """Return whether gRPC refused a message of the caller or of the replica for its size."""
    if not isinstance(error, grpc.aio.AioRpcError):
        return False
    exhausted = error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    return exhausted and "larger than max" in (error.details() or "")


def _unwrapped(cause: BaseException) -> EmbedderError:
    """Return the `EmbedderError` that a replica raised, without the remote traceback."""
    return cause if isinstance(cause, EmbedderError) else BackendFailure(repr(cause))
