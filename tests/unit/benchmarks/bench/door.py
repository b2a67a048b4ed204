"""A small server to put under load."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

PATH = "/v1/embeddings"
TIMES = "tokenization;dur=1.5, queue;dur=0.5, inference;dur=2.0"


class Door:
    """Notes when it was asked for what; ``answer_s`` is what an answer takes."""

    def __init__(self, answer_s: float = 0.0) -> None:
        self.asked: list[tuple[float, list[str]]] = []
        self.noops = 0
        self._answer_s = answer_s

    @asynccontextmanager
    async def open(self) -> AsyncIterator[str]:
        """Serve, and yield the address."""
        application = web.Application()
        application.router.add_post(PATH, self._embed)
        application.router.add_get("/healthz", self._health)
        runner = web.AppRunner(application)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        try:
            yield site.name
        finally:
            await runner.cleanup()

    @property
    def texts(self) -> list[str]:
        """Return all texts that it was asked for."""
        return [text for _, texts in self.asked for text in texts]

    async def _embed(self, request: web.Request) -> web.Response:
        self.asked.append((time.perf_counter(), (await request.json())["input"]))
        await asyncio.sleep(self._answer_s)
        return web.Response(text="{}", headers={"server-timing": TIMES, "x-total-time": "5"})

    async def _health(self, request: web.Request) -> web.Response:
        self.noops += 1
        return web.Response()
