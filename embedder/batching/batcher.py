"""The one gathering loop: items wait here until what they wait for is free, then travel together.

A batch is formed at the moment a slot becomes free, from everything that waits by then: an idle
device adds no latency, a busy one gets full batches. `packing` decides which items; the ``run``
given to the constructor is all this module knows of devices and networks.

No item is ever left without an answer, an error or a cancellation, whatever ``run`` does.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Generic, TypeVar, cast

import numpy as np

from embedder.batching.packing import Budget, pack
from embedder.errors import BackendFailure, DeadlineExceeded, OutOfMemory, Unavailable
from embedder.types import Priority

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")

Run = Callable[[list[ItemT], float | None], Awaitable[Sequence[ResultT]]]
"""Answer a batch, one result an item; the second argument is its deadline or None."""

LOOKAHEAD = 4096
"""Items of each priority, oldest first, that one packing considers: bounds its cost."""


@dataclass(eq=False, slots=True)
class _Call(Generic[ResultT]):
    """One caller, and the results that have come in for it so far."""

    future: asyncio.Future[list[ResultT]]
    results: list[ResultT | None]
    missing: int

    def deliver(self, position: int, result: ResultT) -> None:
        if self.future.done():
            return
        self.results[position] = result
        self.missing -= 1
        if self.missing == 0:
            self.future.set_result(cast("list[ResultT]", self.results))

    def fail(self, error: BaseException) -> None:
        if not self.future.done():
            self.future.set_exception(error)


@dataclass(eq=False, slots=True)
class _Waiting(Generic[ItemT, ResultT]):
    item: ItemT
    length: int
    arrived_s: float
    priority: Priority
    deadline: float | None
    call: _Call[ResultT]
    position: int


@dataclass(slots=True)
class BatcherStats:
    """What a batcher has done since it was made."""

    batches: int = 0
    items: int = 0
    tokens: int = 0
    dropped: int = 0
    bisections: int = 0


@dataclass(slots=True)
class _Queue(Generic[ItemT, ResultT]):
    """Waiting items in order of arrival, a lane for each priority."""

    lanes: dict[Priority, deque[_Waiting[ItemT, ResultT]]] = field(
        default_factory=lambda: {priority: deque() for priority in Priority}
    )

    def __len__(self) -> int:
        return sum(map(len, self.lanes.values()))

    def add(self, waiting: _Waiting[ItemT, ResultT]) -> None:
        self.lanes[waiting.priority].append(waiting)

    def window(self) -> list[_Waiting[ItemT, ResultT]]:
        """Take out the oldest of every lane."""
        return [
            lane.popleft() for lane in self.lanes.values() for _ in range(min(len(lane), LOOKAHEAD))
        ]

    def put_back(self, rest: list[_Waiting[ItemT, ResultT]]) -> None:
        for waiting in reversed(rest):
            self.lanes[waiting.priority].appendleft(waiting)


class Batcher(Generic[ItemT, ResultT]):
    """Gather items from concurrent callers and run them in batches.

    ``slots`` is how many batches may run at once. With ``cancels``, a running batch is cancelled
    once none of its callers is left; leave it off where a run cannot be interrupted, so that its
    slot stays taken for as long as the device is busy. Must be used from one event loop.
    """

    def __init__(
        self,
        run: Run[ItemT, ResultT],
        *,
        budget: Budget,
        slots: int = 1,
        cancels: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.budget = budget
        self.stats = BatcherStats()
        self._run = run
        self._free = slots
        self._cancels = cancels
        self._clock = clock
        self._queue: _Queue[ItemT, ResultT] = _Queue()
        self._running: dict[asyncio.Task[None], list[_Waiting[ItemT, ResultT]]] = {}
        self._woken = False
        self._closed = False

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
        call: _Call[ResultT] = _Call(future, [None] * len(items), len(items))
        now = self._clock()
        for position, (item, length) in enumerate(zip(items, lengths, strict=True)):
            self._queue.add(_Waiting(item, length, now, priority, deadline, call, position))
        self._wake()
        try:
            return await future
        finally:
            if self._cancels and future.cancelled():
                self._cancel_abandoned()

    def close(self) -> None:
        """Answer everything that waits or runs with an error, and accept nothing more."""
        self._closed = True
        for waiting in chain(self._queue.window(), *self._running.values()):
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
        while self._free > 0 and (batch := self._next_batch()):
            self._free -= 1
            task = asyncio.get_running_loop().create_task(self._execute(batch))
            self._running[task] = batch
            task.add_done_callback(self._finished)

    def _next_batch(self) -> list[_Waiting[ItemT, ResultT]]:
        now = self._clock()
        window = [waiting for waiting in self._queue.window() if self._wanted(waiting, now)]
        chosen = pack(
            np.fromiter((waiting.length for waiting in window), np.int64, len(window)),
            now - np.fromiter((waiting.arrived_s for waiting in window), np.float64, len(window)),
            np.fromiter((waiting.priority is Priority.BULK for waiting in window), np.bool_),
            self.budget,
        )
        taken = set(chosen)
        self._queue.put_back([item for at, item in enumerate(window) if at not in taken])
        return [window[at] for at in chosen]

    def _wanted(self, waiting: _Waiting[ItemT, ResultT], now: float) -> bool:
        if waiting.deadline is not None and waiting.deadline <= now:
            waiting.call.fail(DeadlineExceeded("queue"))
        if waiting.call.future.done():
            self.stats.dropped += 1
            return False
        return True

    async def _execute(self, batch: list[_Waiting[ItemT, ResultT]]) -> None:
        """Run a batch and answer its callers; on failure find out whose fault it is."""
        deadlines = [waiting.deadline for waiting in batch if waiting.deadline is not None]
        deadline = max(deadlines) if len(deadlines) == len(batch) else None
        try:
            results = await self._run([waiting.item for waiting in batch], deadline)
            if len(results) != len(batch):
                raise BackendFailure(f"{len(results)} results for {len(batch)} items")
        except Exception as error:  # noqa: BLE001 - the loop outlives whatever run raises
            await self._recover(batch, error)
            return
        self.stats.batches += 1
        self.stats.items += len(batch)
        self.stats.tokens += sum(waiting.length for waiting in batch)
        for waiting, result in zip(batch, results, strict=True):
            waiting.call.deliver(waiting.position, result)

    async def _recover(self, batch: list[_Waiting[ItemT, ResultT]], error: Exception) -> None:
        """Halve a failed batch until the guilty item stands alone and has the error."""
        if isinstance(error, OutOfMemory):
            self.budget = replace(self.budget, max_tokens=max(1, self.budget.max_tokens // 2))
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

    def _finished(self, task: asyncio.Task[None]) -> None:
        for waiting in self._running.pop(task):
            if task.cancelled():
                waiting.call.future.cancel()
            elif task.exception() is not None:  # pragma: no cover - _execute catches everything
                waiting.call.fail(BackendFailure(repr(task.exception())))
        self._free += 1
        self._start_batches()

    def _cancel_abandoned(self) -> None:
        for task, batch in self._running.items():
            if all(waiting.call.future.done() for waiting in batch):
                task.cancel()
