"""A device whose batches end when the test ends them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from embedder.batching.batcher import Batcher
from embedder.batching.packing import Budget
from embedder.batching.queue import BatchContext
from embedder.core.deadline import NEVER, Deadline
from embedder.core.types import Priority

ROOMY = Budget(max_tokens=100_000, max_items=10_000)


class ManualDevice:
    """Multiplies by ten; a batch runs until the test calls `end`."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.deadlines: list[float] = []
        self.pending: list[asyncio.Future[None]] = []
        self.cancelled = 0

    async def run(self, items: list[int], context: BatchContext) -> Sequence[int]:
        release: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.batches.append(items)
        self.deadlines.append(context.deadline)
        self.pending.append(release)
        try:
            await release
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return [item * 10 for item in items]

    async def end(self, number: int) -> None:
        """End one batch, and run all callbacks that follow."""
        self.pending[number].set_result(None)
        await run_until_idle()


async def run_until_idle() -> None:
    """Run the event loop until no callback is ready."""
    for _ in range(20):
        await asyncio.sleep(0)


def start(
    batcher: Batcher[int, int],
    items: Sequence[int],
    *,
    priority: Priority = Priority.INTERACTIVE,
    deadline: Deadline = NEVER,
) -> asyncio.Task[list[int]]:
    """Submit items of one token each in a new task."""
    work = batcher.submit(items, [1] * len(items), priority=priority, deadline=deadline)
    return asyncio.get_running_loop().create_task(work)


async def started(
    batcher: Batcher[int, int], items: Sequence[int], *, priority: Priority = Priority.INTERACTIVE
) -> asyncio.Task[list[int]]:
    """Submit items in a new task, and run the event loop until it is idle."""
    task = start(batcher, items, priority=priority)
    await run_until_idle()
    return task
