"""A neighbouring request, which sees how much work is done before it has its turn."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class ConcurrentRequest:
    """Counts the bytes of work between its turns; ``most`` is the largest number of them."""

    def __init__(self) -> None:
        self.most = self.total = 0
        self._since = 0

    def sees(self, size: int) -> None:
        """Note work of so many bytes."""
        self.total += size
        self._since += size
        self.most = max(self.most, self._since)

    @asynccontextmanager
    async def waiting(self) -> AsyncIterator[None]:
        """Take every turn that there is until the block ends."""
        task = asyncio.ensure_future(self._take_turns())
        try:
            yield
        finally:
            task.cancel()

    async def _take_turns(self) -> None:
        while True:
            self._since = 0
            await asyncio.sleep(0)
