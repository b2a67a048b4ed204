"""The queue of a batcher: items in order of arrival by priority, and the callers they belong to."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field
from itertools import chain
from typing import Generic, TypeVar, cast

from embedder.core.deadline import Deadline
from embedder.core.types import Priority

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")

LOOKAHEAD = 4096
"""The most items of each priority, oldest first, that are considered for one batch."""


@dataclass(eq=False, slots=True)
class Submission(Generic[ResultT]):
    """The items that one caller submitted together, and their results so far."""

    future: asyncio.Future[list[ResultT]]
    results: list[ResultT | None]
    missing: int

    def deliver(self, position: int, result: ResultT) -> None:
        """Store one result; the last one completes the caller's future."""
        if self.future.done():
            return
        self.results[position] = result
        self.missing -= 1
        if self.missing == 0:
            self.future.set_result(cast("list[ResultT]", self.results))

    def fail(self, error: BaseException) -> None:
        """Raise an error in the caller, unless its future is already done."""
        if not self.future.done():
            self.future.set_exception(error)


@dataclass(eq=False, slots=True)
class QueuedItem(Generic[ItemT, ResultT]):
    """One item, and its position in the submission that receives its result."""

    item: ItemT
    length: int
    arrived_s: float
    priority: Priority
    deadline: Deadline
    submission: Submission[ResultT]
    position: int


@dataclass(frozen=True, slots=True)
class BatchContext:
    """The deadline and priority of a whole batch: the latest and the most urgent of its items."""

    deadline: Deadline
    priority: Priority

    @classmethod
    def of(cls, batch: list[QueuedItem[ItemT, ResultT]]) -> BatchContext:
        """Return the context of a batch of at least one item."""
        return cls(
            deadline=max(queued.deadline for queued in batch),
            priority=min(queued.priority for queued in batch),
        )


@dataclass(slots=True)
class ItemQueue(Generic[ItemT, ResultT]):
    """Queued items in order of arrival, one lane per priority; ``tokens`` is their total length."""

    lanes: dict[Priority, deque[QueuedItem[ItemT, ResultT]]] = field(
        default_factory=lambda: {priority: deque() for priority in Priority}
    )
    tokens: int = 0

    def __len__(self) -> int:
        return sum(map(len, self.lanes.values()))

    def add(self, queued: QueuedItem[ItemT, ResultT]) -> None:
        """Append an item to the lane of its priority."""
        self.lanes[queued.priority].append(queued)
        self.tokens += queued.length

    def pop_window(self) -> list[QueuedItem[ItemT, ResultT]]:
        """Remove and return the oldest items of every lane, at most `LOOKAHEAD` of each."""
        window = [
            lane.popleft() for lane in self.lanes.values() for _ in range(min(len(lane), LOOKAHEAD))
        ]
        self.tokens -= sum(queued.length for queued in window)
        return window

    def put_back(self, unused: list[QueuedItem[ItemT, ResultT]]) -> None:
        """Return unused items of a window to the front of their lanes, in the same order."""
        for queued in reversed(unused):
            self.lanes[queued.priority].appendleft(queued)
            self.tokens += queued.length

    def drain(self) -> list[QueuedItem[ItemT, ResultT]]:
        """Remove and return all items."""
        drained = list(chain(*self.lanes.values()))
        for lane in self.lanes.values():
            lane.clear()
        self.tokens = 0
        return drained
