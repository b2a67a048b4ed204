"""The queue of a batcher: items in order of arrival by priority, and the callers they belong to."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, count, repeat
from operator import attrgetter
from typing import Generic, TypeVar, cast

import numpy as np

from embedder.batching.packing import Budget, pack
from embedder.core.deadline import Deadline
from embedder.core.errors import DeadlineExceeded
from embedder.core.tracing import Traced, current, record
from embedder.core.types import Priority

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")

LOOKAHEAD = 4096
"""The most items of each priority, oldest first, that are considered for one batch."""

ITEM, LENGTH = attrgetter("item"), attrgetter("length")


@dataclass(eq=False, slots=True)
class Submission(Generic[ResultT]):
    """The items that one caller submitted together, and their results so far.

    A batch has items of one ``group``.
    """

    future: asyncio.Future[list[ResultT]]
    results: list[ResultT | None]
    missing: int
    arrived_s: float
    priority: Priority
    deadline: Deadline
    group: Hashable = None
    traced: Traced | None = field(default_factory=current)

    def fail(self, error: BaseException) -> None:
        """Raise an error in the caller, unless its future is already done."""
        if not self.future.done():
            self.future.set_exception(error)


@dataclass(eq=False, slots=True)
class QueuedItem(Generic[ItemT, ResultT]):
    """One item, and its position in the submission that receives its result."""

    item: ItemT
    length: int
    submission: Submission[ResultT]
    position: int


@dataclass(frozen=True, slots=True)
class BatchContext:
    """The deadline and priority of a whole batch: the latest and the most urgent of its items.

    ``traced`` are the requests that are traced, and ``group`` is that of all items.
    """

    deadline: Deadline
    priority: Priority
    traced: Traced | None = None
    group: Hashable = None

    @classmethod
    def of(cls, batch: Sequence[QueuedItem[ItemT, ResultT]]) -> BatchContext:
        """Return the context of a batch of at least one item."""
        first = batch[0].submission
        deadline, priority = first.deadline, first.priority
        previous, traced = first, [first.traced]
        for queued in batch:
            if queued.submission is not previous:
                previous = queued.submission
                deadline = max(deadline, previous.deadline)
                priority = min(priority, previous.priority)
                traced.append(previous.traced)
        merged = Traced.merged(traced) if any(traced) else None
        return cls(deadline, priority, merged, first.group)


def deliver(batch: Sequence[QueuedItem[ItemT, ResultT]], results: Sequence[ResultT]) -> None:
    """Store one result for each item; the last result of a submission completes its future."""
    for queued, result in zip(batch, results, strict=True):
        submission = queued.submission
        submission.results[queued.position] = result
        submission.missing -= 1
        if submission.missing == 0 and not submission.future.done():
            submission.future.set_result(cast("list[ResultT]", submission.results))


def fail(batch: Iterable[QueuedItem[ItemT, ResultT]], error: BaseException) -> None:
    """Raise an error in the callers of all items that still wait."""
    for queued in batch:
        queued.submission.fail(error)


def still_needed(
    items: Sequence[QueuedItem[ItemT, ResultT]], now: float
) -> list[QueuedItem[ItemT, ResultT]]:
    """Return the items whose callers still wait; fail those whose deadline has passed."""
    needed = []
    previous, waits = None, False
    for queued in items:
        if queued.submission is not previous:
            previous = queued.submission
            if previous.deadline <= now:
                previous.fail(DeadlineExceeded("queue"))
            waits = not previous.future.done()
        if waits:
            needed.append(queued)
    return needed


def _of_one_group(
    items: list[QueuedItem[ItemT, ResultT]], budget: Budget, now: float
) -> list[QueuedItem[ItemT, ResultT]]:
    """Return the items of the group of the most urgent item, as `pack` orders them."""

    def urgency_s(queued: QueuedItem[ItemT, ResultT]) -> float:
        bulk = queued.submission.priority is Priority.BULK
        return now - queued.submission.arrived_s - (budget.bulk_delay_s if bulk else 0.0)

    if not items:
        return items
    group = max(items, key=urgency_s).submission.group
    return [queued for queued in items if queued.submission.group == group]


def _packed(
    items: Sequence[QueuedItem[ItemT, ResultT]],
    lengths: Sequence[int],
    budget: Budget,
    now: float,
) -> list[QueuedItem[ItemT, ResultT]]:
    """Return the items of the next batch."""
    submissions = [queued.submission for queued in items]
    chosen = pack(
        np.array(lengths, np.int64),
        now - np.array([submission.arrived_s for submission in submissions]),
        np.array([submission.priority is Priority.BULK for submission in submissions]),
        budget,
    )
    return [items[at] for at in chosen]


class ItemQueue(Generic[ItemT, ResultT]):
    """Queued items in order of arrival, one lane per priority.

    ``count`` is the number of items, and ``tokens`` their total length; ``added_tokens`` counts
    the items that left the queue too. ``most_tokens`` returns the limit of a batch of a group, in
    addition to that of its budget.
    """

    def __init__(self, most_tokens: Callable[[Hashable], int] | None = None) -> None:
        self._most_tokens = most_tokens
        self._groups: set[Hashable] = set()  # all that were ever queued
        self.count = 0
        self.tokens = 0
        self.added_tokens = 0
        self._lanes: dict[Priority, list[QueuedItem[ItemT, ResultT]]] = {
            priority: [] for priority in Priority
        }

    def oldest_s(self, now: float) -> float:
        """Return for how long the oldest item has been queued; 0 if there is none."""
        return max(
            (now - lane[0].submission.arrived_s for lane in self._lanes.values() if lane),
            default=0.0,
        )

    def add(
        self, items: Sequence[ItemT], lengths: Sequence[int], submission: Submission[ResultT]
    ) -> None:
        """Append all items of a submission to the lane of its priority.

        Raises:
            ValueError: there are not as many lengths as items; then nothing is queued.
        """
        if len(items) != len(lengths):
            raise ValueError(f"{len(items)} items have {len(lengths)} lengths")
        self._groups.add(submission.group)
        lane = self._lanes[submission.priority]
        lane.extend(map(QueuedItem, items, lengths, repeat(submission), count()))
        self.count += len(lengths)
        tokens = sum(lengths)
        self.tokens += tokens
        self.added_tokens += tokens

    def take(self, budget: Budget, now: float) -> list[QueuedItem[ItemT, ResultT]]:
        """Remove and return the items of the next batch; drop items whose callers no longer wait.

        The batch is empty if no caller of the oldest `LOOKAHEAD` items of each lane waits.
        """
        batch = needed = still_needed(self._pop_window(), now)
        if len(self._groups) > 1:
            batch = _of_one_group(needed, budget, now)
        if batch and self._most_tokens is not None:
            most = self._most_tokens(batch[0].submission.group)
            budget = replace(budget, max_tokens=min(budget.max_tokens, most))
        lengths = list(map(LENGTH, batch))
        if len(batch) > budget.max_items or budget.cost(lengths) > budget.max_tokens:
            batch = _packed(batch, lengths, budget, now)
        if len(batch) < len(needed):
            taken = set(batch)
            self._put_back([queued for queued in needed if queued not in taken])
        for queued in batch:
            traced = queued.submission.traced
            if traced is not None and queued.position == 0:  # once for each submission
                record("queue", traced, now - queued.submission.arrived_s)
        return batch

    def _pop_window(self) -> list[QueuedItem[ItemT, ResultT]]:
        window: list[QueuedItem[ItemT, ResultT]] = []
        for lane in self._lanes.values():
            window += lane[:LOOKAHEAD]
            del lane[:LOOKAHEAD]
        self.count -= len(window)
        self.tokens -= sum(map(LENGTH, window))
        return window

    def _put_back(self, unused: Sequence[QueuedItem[ItemT, ResultT]]) -> None:
        """Return items of a window to the front of their lanes, in the same order."""
        for priority, lane in self._lanes.items():
            lane[:0] = [queued for queued in unused if queued.submission.priority is priority]
        self.count += len(unused)
        self.tokens += sum(map(LENGTH, unused))

    def drain(self) -> list[QueuedItem[ItemT, ResultT]]:
        """Remove and return all items."""
        drained = list(chain.from_iterable(self._lanes.values()))
        for lane in self._lanes.values():
            lane.clear()
        self.count = self.tokens = 0
        return drained
