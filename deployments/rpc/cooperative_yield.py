"""Long work on the event loop that lets other requests run at regular intervals."""

from __future__ import annotations

import asyncio

YIELD_BYTES = 32 * 1024
"""Bytes read or written between two yields: about 1 ms of JSON, and several ms of hits. Several
requests may each take this long, one after the other."""


class CooperativeYield:
    """Counts the work of one request, and yields to the event loop after each `YIELD_BYTES`."""

    def __init__(self) -> None:
        self._done = 0

    async def after(self, size: int) -> None:
        """Add ``size`` bytes of work, and yield when enough has been done since the last yield."""
        self._done += size
        if self._done >= YIELD_BYTES:
            self._done = 0
            await asyncio.sleep(0)
