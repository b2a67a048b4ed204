"""Calls to a deployment by its handle: lost ones are retried, and every one has a deadline.

Large ones go through Ray's object store, and so does one that gRPC has refused for its size.

Ray's errors end here: what comes out is the library's own tree. Knows nothing of what is called.
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

from deployments.rpc.message_size import LARGE_BYTES
from embedder.core.errors import BackendFailure, DeadlineExceeded, EmbedderError, StageUnavailable
from embedder.core.time_limit import wait_within

Handle = DeploymentHandle[Any]

RETRIES = 2
"""How often a call is sent again after its replica was lost.

No method does harm when done twice; a deletion that had been done answers that nothing was there.
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


class _MessageTooLarge(Exception):
    """The request or its answer is larger than a message of gRPC may be."""


class HandleClient:
    """One deployment by its handle, ``stage`` being its name in errors."""

    def __init__(self, stage: str, handle: Handle) -> None:
        self.stage = stage
        self._handle = handle

    async def call(
        self, method: str, *args: Any, size: int = 0, deadline: float | None = None
    ) -> Any:
        """Call a method of some replica, again on another one if that is lost.

        ``size`` is how many bytes the larger of the arguments and the answer is expected to take.

        Raises:
            DeadlineExceeded: no answer by ``deadline``, which is on ``time.monotonic``.
            StageUnavailable: the replica was lost, and so were those of the retries.
            BackendFailure: the method raised something that is not an `EmbedderError`.
        """
        send = partial(self._send, method, args)
        by_reference = size > LARGE_BYTES
        while True:
            try:
                return await self._answer(partial(send, by_reference=by_reference), deadline)
            except _MessageTooLarge as error:
                if by_reference:
                    raise StageUnavailable(self.stage, str(error)) from error
                by_reference = True

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
                return await wait_within(send(), remaining_s(deadline))
            # Before the time-outs: a remote TimeoutError is of both classes, and no deadline.
            except ray.exceptions.RayTaskError as error:
                raise _own(error.cause) from error
            except asyncio.TimeoutError:
                raise DeadlineExceeded(self.stage) from None
            except (EmbedderError, _MessageTooLarge):
                raise
            except _LOST as error:
                if attempt == RETRIES:
                    raise StageUnavailable(self.stage, repr(error)) from error
                await asyncio.sleep(_pause_s(attempt, deadline))
            except Exception as error:
                raise BackendFailure(repr(error)) from error
        raise AssertionError("the last attempt returns or raises")

    async def _send(self, method: str, args: Sequence[Any], *, by_reference: bool) -> Any:
        handle = self._handle.options(_by_reference=True) if by_reference else self._handle
        # In a context of its own: Serve cancels whatever was sent in that of a request whose client
        # hangs up, and what is sent here is for others too, whoever happened to wake the batch.
        try:
            return await Context().run(getattr(handle, method).remote, *args)
        except grpc.aio.AioRpcError as error:
            if _is_too_large(error):
                raise _MessageTooLarge(repr(error)) from error
            raise

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


def _pause_s(attempt: int, deadline: float | None) -> float:
    """Return a pause that grows; jitter keeps calls that died together from returning together."""
    pause_s = 0.1 * 4.0**attempt * (1 + random.random())  # noqa: S311
    left_s = remaining_s(deadline)
    return pause_s if left_s is None else min(pause_s, left_s)


def _is_too_large(error: grpc.aio.AioRpcError) -> bool:
    """Tell whether gRPC has refused a message, of the caller or of the replica, for its size."""
    exhausted = error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    return exhausted and "larger than max" in (error.details() or "")


def remaining_s(deadline: float | None) -> float | None:
    """Return the seconds until a deadline on ``time.monotonic``, 0 when it has passed."""
    return None if deadline is None else max(0.0, deadline - time.monotonic())


def _own(cause: BaseException) -> EmbedderError:
    """Return the library's own error that a replica raised, without the remote traceback."""
    return cause if isinstance(cause, EmbedderError) else BackendFailure(repr(cause))
