"""Long work on an event loop, in steps: others have their turn after each amount of it."""

from __future__ import annotations

import asyncio

YIELD_BYTES = 32 * 1024
"""Bytes that are read or written before others have their turn: about a millisecond of JSON, and
several of hits, which several requests may take one after the other."""


class CooperativeYield:
    """Counts the work of one request."""

    def __init__(self) -> None:
        self._done = 0

    async def after(self, size: int) -> None:
        """Note ``size`` more bytes of work, and let others run where enough has been done."""
        self._done += size
        if self._done >= YIELD_BYTES:
            self._done = 0
            await asyncio.sleep(0)
