"""A concurrent request, which counts the work that is done between two of its runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class ConcurrentRequest:
    """Counts the bytes of work between two of its runs; ``max_bytes`` is the largest count."""

    def __init__(self) -> None:
        self.max_bytes = self.total = 0
        self._since = 0

    def record_work(self, size: int) -> None:
        """Note work of so many bytes."""
        self.total += size
        self._since += size
        self.max_bytes = max(self.max_bytes, self._since)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run as often as the event loop allows until the block ends."""
        task = asyncio.ensure_future(self._run())
        try:
            yield
        finally:
            task.cancel()

    async def _run(self) -> None:
        while True:
            self._since = 0
            await asyncio.sleep(0)
