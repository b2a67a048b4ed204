"""Run a blocking load in a thread, and report its model or its error on the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from embedder.core.errors import BackendFailure

ModelT = TypeVar("ModelT")


def start_load(load: Callable[[], ModelT], finished: Callable[[ModelT | Exception], None]) -> None:
    """Run ``load`` in a thread of the running loop, which then calls ``finished``."""
    loop = asyncio.get_running_loop()
    try:
        future = loop.run_in_executor(None, _run, load)
    except RuntimeError as error:  # no thread could be started
        loop.call_soon(finished, error)
    else:
        future.add_done_callback(partial(_report, finished))


def _run(load: Callable[[], ModelT]) -> list[ModelT | BaseException]:
    """Return the outcome in a list, so that a future in a reference cycle does not keep it."""
    try:
        return [load()]
    except BaseException as error:  # noqa: BLE001 - the callers that wait for the model get it
        return [error]


def _report(
    finished: Callable[[ModelT | Exception], None],
    future: asyncio.Future[list[ModelT | BaseException]],
) -> None:
    outcome = asyncio.CancelledError() if future.cancelled() else future.result().pop()
    # Raised in a coroutine, these would not be seen as failures.
    if isinstance(outcome, BaseException) and (
        isinstance(outcome, StopIteration) or not isinstance(outcome, Exception)
    ):
        outcome = BackendFailure(f"the load ended with {outcome!r}")
    finished(outcome)
