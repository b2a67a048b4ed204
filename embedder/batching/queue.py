"""What waits for a batch: items in lanes of priority, and the callers that they belong to.

Records and a queue of them; knows nothing of when a batch is formed or of what runs it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field
from itertools import chain
from typing import Generic, TypeVar, cast

from embedder.core.types import Priority

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")

LOOKAHEAD = 4096
"""Items of each priority, oldest first, that one packing considers: bounds its cost."""


@dataclass(eq=False, slots=True)
class Submission(Generic[ResultT]):
    """One caller, and the results that have come in for it so far."""

    future: asyncio.Future[list[ResultT]]
    results: list[ResultT | None]
    missing: int

    def deliver(self, position: int, result: ResultT) -> None:
        """Take one result; the last one answers the caller."""
        if self.future.done():
            return
        self.results[position] = result
        self.missing -= 1
        if self.missing == 0:
            self.future.set_result(cast("list[ResultT]", self.results))

    def fail(self, error: BaseException) -> None:
        """Answer the caller with an error, unless it has an answer or has gone."""
        if not self.future.done():
            self.future.set_exception(error)


@dataclass(eq=False, slots=True)
class QueuedItem(Generic[ItemT, ResultT]):
    """One item, and where its result goes."""

    item: ItemT
    length: int
    arrived_s: float
    priority: Priority
    deadline: float | None
    call: Submission[ResultT]
    position: int


@dataclass(frozen=True, slots=True)
class BatchContext:
    """What holds for a whole batch: the latest deadline, and the most urgent priority."""

    deadline: float | None
    priority: Priority

    @classmethod
    def of(cls, batch: list[QueuedItem[ItemT, ResultT]]) -> BatchContext:
        """Return the terms of a batch; one item without a deadline frees all of it."""
        deadlines = [waiting.deadline for waiting in batch if waiting.deadline is not None]
        return cls(
            deadline=max(deadlines) if len(deadlines) == len(batch) else None,
            priority=min(waiting.priority for waiting in batch),
        )


@dataclass(slots=True)
class ItemQueue(Generic[ItemT, ResultT]):
    """Waiting items in order of arrival, a lane for each priority; ``tokens`` is their sum."""

    lanes: dict[Priority, deque[QueuedItem[ItemT, ResultT]]] = field(
        default_factory=lambda: {priority: deque() for priority in Priority}
    )
    tokens: int = 0

    def __len__(self) -> int:
        return sum(map(len, self.lanes.values()))

    def add(self, waiting: QueuedItem[ItemT, ResultT]) -> None:
        """Let an item wait behind those of its priority."""
        self.lanes[waiting.priority].append(waiting)
        self.tokens += waiting.length

    def window(self) -> list[QueuedItem[ItemT, ResultT]]:
        """Take out the oldest of every lane, `LOOKAHEAD` at most."""
        window = [
            lane.popleft() for lane in self.lanes.values() for _ in range(min(len(lane), LOOKAHEAD))
        ]
        self.tokens -= sum(waiting.length for waiting in window)
        return window

    def put_back(self, rest: list[QueuedItem[ItemT, ResultT]]) -> None:
        """Return what a window held too much, in its order."""
        for waiting in reversed(rest):
            self.lanes[waiting.priority].appendleft(waiting)
            self.tokens += waiting.length

    def drain(self) -> list[QueuedItem[ItemT, ResultT]]:
        """Take out everything."""
        everything = list(chain(*self.lanes.values()))
        for lane in self.lanes.values():
            lane.clear()
        self.tokens = 0
        return everything
