"""A device whose batches end when the test says so."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from embedder.batching.batcher import Batcher
from embedder.batching.packing import Budget
from embedder.batching.queue import BatchContext
from embedder.core.types import Priority

ROOMY = Budget(max_tokens=100_000, max_items=10_000)


class Device:
    """Multiplies by ten; every batch ends when the test says so."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.deadlines: list[float | None] = []
        self.gates: list[asyncio.Future[None]] = []
        self.cancelled = 0

    async def run(self, items: list[int], context: BatchContext) -> Sequence[int]:
        gate: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.batches.append(items)
        self.deadlines.append(context.deadline)
        self.gates.append(gate)
        try:
            await gate
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return [item * 10 for item in items]

    async def end(self, number: int) -> None:
        """Let one batch end, and everything that follows from it happen."""
        self.gates[number].set_result(None)
        await run_until_idle()


async def run_until_idle() -> None:
    """Let everything happen that needs no further event."""
    for _ in range(20):
        await asyncio.sleep(0)


def start(
    batcher: Batcher[int, int],
    items: Sequence[int],
    *,
    priority: Priority = Priority.INTERACTIVE,
    deadline: float | None = None,
) -> asyncio.Task[list[int]]:
    """Submit items of one token each from a task of their own."""
    work = batcher.submit(items, [1] * len(items), priority=priority, deadline=deadline)
    return asyncio.get_running_loop().create_task(work)
