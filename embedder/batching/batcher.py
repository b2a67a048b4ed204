"""The one gathering loop: items wait here until what they wait for is free, then travel together.

A batch is formed at the moment a slot becomes free, from everything that waits by then: an idle
device adds no latency, a busy one gets full batches. `packing` decides which items; the ``run``
given to the constructor is all this module knows of devices and networks.

No item is ever left without an answer, an error or a cancellation, whatever ``run`` does.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Generic

import numpy as np

from embedder.batching.adaptive_budget import AdaptiveBudget
from embedder.batching.packing import Budget, pack
from embedder.batching.queue import BatchContext, ItemQueue, ItemT, QueuedItem, ResultT, Submission
from embedder.batching.slots import Slots
from embedder.core.errors import (
    BackendFailure,
    DeadlineExceeded,
    EmbedderError,
    OutOfMemory,
    Unavailable,
)
from embedder.core.types import Priority

Run = Callable[[list[ItemT], BatchContext], Awaitable[Sequence[ResultT]]]
"""Answer a batch, one result an item."""


@dataclass(slots=True)
class BatcherStats:
    """What a batcher has done since it was made, and what it allows a batch.

    ``budget_tokens`` is in force: less than the batcher was made with for as long as memory is
    short. ``largest_batch_tokens`` is the largest batch that succeeded, counted as the budget
    counts. ``busy_s`` is how long batches ran, overlaps counted once, up to the last one's end.
    """

    budget_tokens: int
    batches: int = 0
    failed: int = 0
    items: int = 0
    tokens: int = 0
    dropped: int = 0
    bisections: int = 0
    out_of_memory: int = 0
    largest_batch_tokens: int = 0
    busy_s: float = 0.0


class Batcher(Generic[ItemT, ResultT]):
    """Gather items from concurrent callers and run them in batches.

    ``slots`` are the batches that may run at once; a number is so many of any size. With
    ``cancels``, a running batch is cancelled once none of its callers is left; leave it off where a
    run cannot be interrupted, so that its slot stays taken for as long as the device is busy. Must
    be used from one event loop.
    """

    def __init__(
        self,
        run: Run[ItemT, ResultT],
        *,
        budget: Budget,
        slots: int | Slots = 1,
        cancel_abandoned: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.budget = budget
        self.stats = BatcherStats(budget.max_tokens)
        self._recovery = AdaptiveBudget(budget.max_tokens)
        self._run = run
        self._slots = Slots(slots) if isinstance(slots, int) else slots
        self._cancel_abandoned_runs = cancel_abandoned
        self._clock = clock
        self._queue: ItemQueue[ItemT, ResultT] = ItemQueue()
        self._running: dict[asyncio.Task[None], list[QueuedItem[ItemT, ResultT]]] = {}
        self._woken = False
        self._closed = False
        self._busy_since_s = 0.0

    def __len__(self) -> int:
        """Return how many items wait."""
        return len(self._queue)

    @property
    def idle(self) -> bool:
        """Tell whether nothing waits and nothing runs."""
        return not self._queue and not self._running

    async def submit(
        self,
        items: Sequence[ItemT],
        lengths: Sequence[int],
        *,
        priority: Priority = Priority.INTERACTIVE,
        deadline: float | None = None,
    ) -> list[ResultT]:
        """Return the results of ``items`` in order, once the last of them has come in.

        ``deadline`` is on the batcher's clock; items that are still waiting when it has passed
        are dropped before they cost anything. An error of one item is the error of its caller,
        and of no other caller in the same batch.
        """
        if self._closed:
            raise Unavailable("the batcher is closed")
        if not items:
            return []
        future: asyncio.Future[list[ResultT]] = asyncio.get_running_loop().create_future()
        call: Submission[ResultT] = Submission(future, [None] * len(items), len(items))
        now = self._clock()
        pairs = list(zip(items, lengths, strict=True))
        for position, (item, length) in enumerate(pairs):
            self._queue.add(QueuedItem(item, length, now, priority, deadline, call, position))
        self._wake()
        try:
            return await future
        finally:
            if self._cancel_abandoned_runs and (
                future.cancelled() or future.exception() is not None
            ):
                self._cancel_abandoned()

    def close(self) -> None:
        """Answer everything that waits or runs with an error, and accept nothing more."""
        self._closed = True
        for waiting in chain(self._queue.drain(), *self._running.values()):
            waiting.call.fail(Unavailable("the batcher is closed"))
        for task in self._running:
            task.cancel()

    def _wake(self) -> None:
        """Form batches after the callers that are ready now have all been heard."""
        if not self._woken:
            self._woken = True
            asyncio.get_running_loop().call_soon(self._start_batches)

    def _start_batches(self) -> None:
        self._woken = False
        while self._queue:
            budget = self._slots.next_budget(
                self.budget, running=len(self._running), waiting_tokens=self._queue.tokens
            )
            if budget is None:
                return
            batch = self._next_batch(budget)
            if not batch:  # everybody in the window had gone; more may wait behind it
                continue
            if not self._running:
                self._busy_since_s = self._clock()
            task = asyncio.get_running_loop().create_task(self._execute(batch))
            self._running[task] = batch
            task.add_done_callback(self._finished)

    def _next_batch(self, budget: Budget) -> list[QueuedItem[ItemT, ResultT]]:
        now = self._clock()
        window = [waiting for waiting in self._queue.window() if self._wanted(waiting, now)]
        chosen = pack(
            np.fromiter((waiting.length for waiting in window), np.int64, len(window)),
            now - np.fromiter((waiting.arrived_s for waiting in window), np.float64, len(window)),
            np.fromiter((waiting.priority is Priority.BULK for waiting in window), np.bool_),
            budget,
        )
        taken = set(chosen)
        self._queue.put_back([item for at, item in enumerate(window) if at not in taken])
        return [window[at] for at in chosen]

    def _wanted(self, waiting: QueuedItem[ItemT, ResultT], now: float) -> bool:
        if waiting.deadline is not None and waiting.deadline <= now:
            waiting.call.fail(DeadlineExceeded("queue"))
        if waiting.call.future.done():
            self.stats.dropped += 1
            return False
        return True

    async def _execute(self, batch: list[QueuedItem[ItemT, ResultT]]) -> None:
        """Run a batch and answer its callers; on failure find out whose fault it is."""
        try:
            results = await self._run([waiting.item for waiting in batch], BatchContext.of(batch))
            if len(results) != len(batch):
                raise BackendFailure(f"{len(results)} results for {len(batch)} items")
        except Exception as error:  # noqa: BLE001 - the loop outlives whatever run raises
            self.stats.failed += 1
            await self._recover(batch, error)
            return
        self._count(batch)
        for waiting, result in zip(batch, results, strict=True):
            waiting.call.deliver(waiting.position, result)

    async def _recover(self, batch: list[QueuedItem[ItemT, ResultT]], error: Exception) -> None:
        """Halve a failed batch until the guilty item stands alone and has the error."""
        if isinstance(error, OutOfMemory):
            self.stats.out_of_memory += 1
            if len(batch) > 1:  # a batch of one is no fault of the budget
                self._recovery.failed(self.budget.cost([waiting.length for waiting in batch]))
                self._adapt()
        if len(batch) == 1 or isinstance(error, Unavailable):
            for waiting in batch:
                waiting.call.fail(error)
            return
        self.stats.bisections += 1
        middle = len(batch) // 2
        for half in (batch[:middle], batch[middle:]):
            # A caller whose other half has failed needs no more work.
            wanted = [waiting for waiting in half if self._wanted(waiting, self._clock())]
            if wanted:
                await self._execute(wanted)

    def _count(self, batch: list[QueuedItem[ItemT, ResultT]]) -> None:
        lengths = [waiting.length for waiting in batch]
        cost = self.budget.cost(lengths)
        self.stats.batches += 1
        self.stats.items += len(batch)
        self.stats.tokens += sum(lengths)
        self.stats.largest_batch_tokens = max(self.stats.largest_batch_tokens, cost)
        self._recovery.succeeded(cost)
        self._adapt()

    def _adapt(self) -> None:
        tokens = self._recovery.tokens
        if tokens != self.stats.budget_tokens:
            self.stats.budget_tokens = tokens
            self.budget = replace(self.budget, max_tokens=tokens)

    def _finished(self, task: asyncio.Task[None]) -> None:
        batch = self._running.pop(task)
        now = self._clock()
        self.stats.busy_s += now - self._busy_since_s
        self._busy_since_s = now
        if task.cancelled():  # those who wished it have left or have been answered
            error: EmbedderError = Unavailable("the batch was cancelled")
        elif (end := task.exception()) is not None:  # not an Exception, or it had been caught
            error = BackendFailure(repr(end))
        else:
            batch = []
        for waiting in batch:
            waiting.call.fail(error)
        self._start_batches()

    def _cancel_abandoned(self) -> None:
        for task, batch in self._running.items():
            if all(waiting.call.future.done() for waiting in batch):
                task.cancel()
