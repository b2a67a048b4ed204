"""Awaitables whose first step has run outside of a task, to see whether they have to wait."""

from __future__ import annotations

from collections.abc import Generator
from functools import partial
from types import coroutine
from typing import Any, TypeVar

T = TypeVar("T")


@coroutine
def finish(steps: Generator[Any, Any, T], awaited: Any) -> Generator[Any, Any, T]:
    """Await the rest of an awaitable, whose first step has yielded ``awaited``."""
    while True:
        try:
            step = partial(steps.send, (yield awaited))
        except BaseException as error:  # noqa: BLE001 - a cancellation too is the awaitable's
            step = partial(steps.throw, error)
        try:
            awaited = step()
        except StopIteration as end:
            result: T = end.value
            return result
