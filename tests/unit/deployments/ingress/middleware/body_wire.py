"""The messages of a client that sends a body."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from starlette.types import Message


class Wire:
    """The messages of a client; ``unread`` has those that were not received."""

    def __init__(self, messages: Iterable[Message], *, pause_s: float = 0.0) -> None:
        self.unread = list(messages)
        self._pause_s = pause_s

    async def receive(self) -> Message:
        await asyncio.sleep(self._pause_s)
        return self.unread.pop(0)


def chunks_of(*chunks: bytes) -> list[Message]:
    return [
        {"type": "http.request", "body": chunk, "more_body": number < len(chunks)}
        for number, chunk in enumerate(chunks, start=1)
    ]
