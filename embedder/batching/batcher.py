"""The batching loop: items wait in a queue until a slot is free, then run together in a batch.

A batch is formed when a slot becomes free: an idle device adds no latency, a busy one gets full
batches. Every item ends with a result, an error or a cancellation, whatever ``run`` does.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import ClassVar, Generic

from embedder.batching.adaptive_budget import AdaptiveBudget
from embedder.batching.packing import Budget, Slots
from embedder.batching.queue import (
    ITEM,
    LENGTH,
    BatchContext,
    ItemQueue,
    ItemT,
    QueuedItem,
    ResultT,
    Submission,
    deliver,
    fail,
    still_needed,
)
from embedder.core.deadline import NEVER, Deadline
from embedder.core.errors import BackendFailure, OutOfMemory, Unavailable
from embedder.core.tracing import serve
from embedder.core.types import Priority

Run = Callable[[list[ItemT], BatchContext], Awaitable[Sequence[ResultT]]]
"""Compute a batch; return one result per item, in order."""


@dataclass(slots=True)
class BatcherStats:
    """The counters of a batcher since its creation, and its present budget.

    While memory is short, ``budget_tokens`` is below the configured budget. ``busy_s`` counts while
    any batch runs, ``largest_batch_tokens`` is the cost of the largest batch that succeeded.
    """

    __pydantic_config__: ClassVar = {"json_schema_serialization_defaults_required": True}
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
    """Collect items from concurrent callers and run them in batches.

    ``slots`` says how many batches may run at once; an integer n means ``Slots(n)``, and a function
    is asked before each batch. With ``cancel_abandoned``, a running batch is cancelled when no
    caller waits for it. Leave it off where a run cannot be interrupted: the slot then stays taken.
    ``most_tokens`` is as in `ItemQueue`. All calls must come from one event loop.
    """

    def __init__(
        self,
        run: Run[ItemT, ResultT],
        *,
        budget: Budget,
        slots: int | Slots | Callable[[], Slots] = 1,
        cancel_abandoned: bool = False,
        clock: Callable[[], float] = time.monotonic,
        most_tokens: Callable[[Hashable], int] | None = None,
    ) -> None:
        self.budget = budget
        self.stats = BatcherStats(budget.max_tokens)
        self._adaptive: AdaptiveBudget | None = None  # None until memory runs out
        self._run = run
        self._slots = Slots(slots) if isinstance(slots, int) else slots
        self._cancels_abandoned = cancel_abandoned
        self._clock = clock
        self._queue: ItemQueue[ItemT, ResultT] = ItemQueue(most_tokens)
        self._running: dict[asyncio.Task[None], list[QueuedItem[ItemT, ResultT]]] = {}
        self._start_scheduled = False
        self._closed = False
        self._busy_since_s = 0.0

    def __len__(self) -> int:
        """Return the number of queued items."""
        return self._queue.count

    @property
    def waiting_tokens(self) -> int:
        """Return the total length of the queued items."""
        return self._queue.tokens

    @property
    def submitted_tokens(self) -> int:
        """Return the total length of all items that were ever submitted."""
        return self._queue.added_tokens

    @property
    def oldest_s(self) -> float:
        """Return for how long the oldest item has been queued; 0 if there is none."""
        return self._queue.oldest_s(self._clock())

    @property
    def idle(self) -> bool:
        """Tell whether nothing is queued and nothing runs."""
        return not self._queue.count and not self._running

    async def submit(
        self,
        items: Sequence[ItemT],
        lengths: Sequence[int],
        *,
        priority: Priority = Priority.INTERACTIVE,
        deadline: Deadline = NEVER,
        group: Hashable = None,
    ) -> list[ResultT]:
        """Return the results of ``items``, in order, when all of them are computed.

        ``deadline`` is on the batcher's clock; items that are still queued then are dropped. An
        error of one item fails its own submission and no other. A batch has items of one ``group``.

        Raises:
            Unavailable: the batcher is closed.
            DeadlineExceeded: the deadline passed before a batch started.
        """
        if self._closed:
            raise Unavailable("the batcher is closed")
        if not items:
            return []
        loop = asyncio.get_running_loop()
        future: asyncio.Future[list[ResultT]] = loop.create_future()
        missing: list[ResultT | None] = [None] * len(items)
        at = len(items), self._clock()
        self._queue.add(items, lengths, Submission(future, missing, *at, priority, deadline, group))
        if not self._start_scheduled:
            # Form batches after all callers that are ready in this iteration have submitted.
            self._start_scheduled = True
            loop.call_soon(self._start_batches)
        try:
            return await future
        except BaseException:
            if self._cancels_abandoned:
                self._cancel_abandoned_batches()
            raise

    def close(self) -> None:
        """Fail everything that is queued or runs, and accept no more items."""
        self._closed = True
        batches = self._queue.drain(), *self._running.values()
        fail(chain(*batches), Unavailable("the batcher is closed"))
        for task in self._running:
            task.cancel()

    def _start_batches(self) -> None:
        self._start_scheduled = False
        while self._queue.count:
            slots = self._slots if isinstance(self._slots, Slots) else self._slots()
            budget = slots.next_budget(
                self.budget, running=len(self._running), waiting_tokens=self._queue.tokens
            )
            if budget is None:
                return
            waiting = self._queue.count
            batch = self._queue.take(budget, self._clock())
            self.stats.dropped += waiting - self._queue.count - len(batch)
            if not batch:  # only dropped items were considered; more may wait behind them
                continue
            if not self._running:
                self._busy_since_s = self._clock()
            task = asyncio.get_running_loop().create_task(self._execute(batch))
            self._running[task] = batch
            task.add_done_callback(self._on_task_done)

    async def _execute(self, batch: list[QueuedItem[ItemT, ResultT]]) -> None:
        """Run a batch and deliver its results; if it fails, find the failing item."""
        context = BatchContext.of(batch)
        serve(context.traced)  # the task has started in the context of any earlier request
        try:
            results = await self._run(list(map(ITEM, batch)), context)
            if len(results) != len(batch):
                raise BackendFailure(f"{len(results)} results for {len(batch)} items")
        except Exception as error:  # noqa: BLE001 - the loop must survive every error of run
            self.stats.failed += 1
            await self._bisect(batch, error)
            return
        self._record_success(batch)
        deliver(batch, results)

    async def _bisect(self, batch: list[QueuedItem[ItemT, ResultT]], error: Exception) -> None:
        """Bisect a failed batch until the failing item is alone; fail only its submission."""
        if isinstance(error, OutOfMemory):
            self.stats.out_of_memory += 1
            if len(batch) > 1:  # a smaller budget does not help a batch of one
                cost = self.budget.cost(list(map(LENGTH, batch)))
                self._adaptive = self._adaptive or AdaptiveBudget(self.budget.max_tokens)
                self._adaptive.record_out_of_memory(cost)
                self._set_budget(self._adaptive.tokens)
        if len(batch) == 1 or isinstance(error, Unavailable):
            fail(batch, error)
            return
        self.stats.bisections += 1
        middle = len(batch) // 2
        for half in (batch[:middle], batch[middle:]):
            # Items of a submission that has failed in the other half need no more work.
            needed = still_needed(half, self._clock())
            self.stats.dropped += len(half) - len(needed)
            if needed:
                await self._execute(needed)

    def _record_success(self, batch: list[QueuedItem[ItemT, ResultT]]) -> None:
        lengths = list(map(LENGTH, batch))
        cost = self.budget.cost(lengths)
        self.stats.batches += 1
        self.stats.items += len(batch)
        self.stats.tokens += sum(lengths)
        self.stats.largest_batch_tokens = max(self.stats.largest_batch_tokens, cost)
        if self._adaptive is not None:
            self._adaptive.record_success(cost)
            self._set_budget(self._adaptive.tokens)

    def _set_budget(self, tokens: int) -> None:
        if tokens != self.stats.budget_tokens:
            self.stats.budget_tokens = tokens
            self.budget = replace(self.budget, max_tokens=tokens)

    def _on_task_done(self, task: asyncio.Task[None]) -> None:
        batch = self._running.pop(task)
        since_s, self._busy_since_s = self._busy_since_s, self._clock()
        self.stats.busy_s += self._busy_since_s - since_s
        if task.cancelled():  # by close() or because it was abandoned
            fail(batch, Unavailable("the batch was cancelled"))
        elif (raised := task.exception()) is not None:  # a BaseException that is no Exception
            fail(batch, BackendFailure(repr(raised)))
        if self._queue.count:
            self._start_batches()

    def _cancel_abandoned_batches(self) -> None:
        for task, batch in self._running.items():
            if all(queued.submission.future.done() for queued in batch):
                task.cancel()
