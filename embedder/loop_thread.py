"""An event loop in a thread of its own, on which code of any thread runs coroutines."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import TypeVar

from embedder.core.errors import Unavailable

ResultT = TypeVar("ResultT")


class LoopThread:
    """Run an event loop in a daemon thread; ``owner`` is the subject of its errors."""

    def __init__(self, owner: str) -> None:
        self._owner = owner
        self._lock = threading.Lock()
        self._closed = False
        self._closing = False
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True, name="embedder")
        self._thread.start()

    def submit(self, work: Coroutine[None, None, ResultT]) -> Future[ResultT]:
        """Start a coroutine on the loop.

        Raises:
            Unavailable: the loop is closed.
        """
        with self._lock:
            if self._closed:
                work.close()
                raise Unavailable(f"the {self._owner} is closed")
            return asyncio.run_coroutine_threadsafe(self._unless_closed(work), self._loop)

    def run(self, work: Coroutine[None, None, ResultT]) -> ResultT:
        """Return the result of a coroutine, and cancel it if the wait is interrupted.

        Raises:
            Unavailable: the loop is closed, before the call or during it.
        """
        return self.result(self.submit(work))

    @staticmethod
    def result(future: Future[ResultT]) -> ResultT:
        """Wait for a started coroutine, and cancel it if the wait is interrupted."""
        try:
            return future.result()
        except BaseException:
            future.cancel()  # Ctrl-C interrupts the wait, and not the work
            raise

    def close(self, stop_stages: Callable[[], None]) -> None:
        """End the thread; waiting calls fail with `Unavailable`.

        ``stop_stages`` is called on the loop before the calls in progress are cancelled. A second
        call waits for the first.

        Raises:
            Exception: the error of ``stop_stages``, in the first call.
        """
        with self._lock:
            first, self._closed = not self._closed, True
        if not first:
            self._thread.join()
            return
        ending = asyncio.run_coroutine_threadsafe(self._end(stop_stages), self._loop)
        # Ctrl-C may interrupt the wait below, and a second call still needs the end of the thread.
        ending.add_done_callback(lambda _: self._loop.call_soon_threadsafe(self._loop.stop))
        self._thread.join()
        ending.result()

    def _run(self) -> None:
        self._loop.run_forever()
        self._loop.close()

    async def _unless_closed(self, work: Coroutine[None, None, ResultT]) -> ResultT:
        """Await work; if closing cancels it, its caller gets an error and not a cancellation."""
        try:
            return await work
        except asyncio.CancelledError:
            if self._closing:
                raise Unavailable(f"the {self._owner} was closed") from None
            raise

    async def _end(self, stop_stages: Callable[[], None]) -> None:
        """Cancel every call in progress, and wait until each has ended."""
        self._closing = True
        stop_stages()
        calls = asyncio.all_tasks() - {asyncio.current_task()}
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        await self._loop.shutdown_default_executor()
