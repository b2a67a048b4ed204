"""An event loop in a thread of its own, on which synchronous calls run."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Coroutine, Iterator
from typing import Any, TypeVar

ResultT = TypeVar("ResultT")


class LoopThread:
    """Run an event loop in a daemon thread until it is closed."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, daemon=True, name="embedder-client"
        )
        self._thread.start()

    @property
    def is_closed(self) -> bool:
        """Return whether `close` has ended the thread."""
        return self._loop.is_closed()

    def run(self, work: Coroutine[Any, Any, ResultT]) -> ResultT:
        """Return the result of a coroutine, and cancel it if the wait is interrupted.

        Raises:
            RuntimeError: the loop is closed.
        """
        if self.is_closed:
            work.close()
            raise RuntimeError("the client is closed")
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()  # Ctrl-C interrupts the wait, and not the work
            raise

    def iterate(self, items: AsyncIterator[ResultT]) -> Iterator[ResultT]:
        """Yield the items of an asynchronous generator, and close it at the end."""
        try:
            while True:
                try:
                    yield self.run(_next(items))
                except StopAsyncIteration:
                    return
        finally:
            close = getattr(items, "aclose", None)
            if close is not None and not self.is_closed:
                self.run(close())

    def close(self) -> None:
        """End the thread; a second call does nothing."""
        if self.is_closed:
            return
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


async def _next(items: AsyncIterator[ResultT]) -> ResultT:
    return await items.__anext__()
