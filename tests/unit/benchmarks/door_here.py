"""A client without asynchrony of the real application, over stages in this process."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import httpx

from tests.unit.deployments.ingress.fake_service import FakeService


class _Door(httpx.BaseTransport):
    """Answers in an event loop that runs for as long as a request takes."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._client: httpx.AsyncClient | None = None

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        return self._loop.run_until_complete(self._answer(request))

    async def _answer(self, request: httpx.Request) -> httpx.Response:
        if self._client is None:
            self._client = FakeService().client()
        answer = await self._client.request(
            request.method, request.url.path, content=request.read(), headers=request.headers
        )
        return httpx.Response(answer.status_code, headers=answer.headers, content=answer.content)


@contextmanager
def door_here() -> Iterator[httpx.Client]:
    """Yield a client of a service that ends with it."""
    loop = asyncio.new_event_loop()
    try:
        yield httpx.Client(transport=_Door(loop), base_url="http://here")
    finally:
        loop.run_until_complete(_end_others())
        loop.close()


async def _end_others() -> None:
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)
