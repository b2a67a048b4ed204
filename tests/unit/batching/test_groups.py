"""A batch has items of one group, that of the most urgent item, and no group waits for ever."""

from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from embedder.batching.packing import Budget
from embedder.batching.queue import ItemQueue, Submission
from embedder.core.deadline import NEVER
from embedder.core.types import Priority

NOW = 100.0

submissions = st.lists(
    st.tuples(
        st.integers(0, 3),  # seconds since it arrived
        st.sampled_from(["a", "b", "c"]),
        st.sampled_from(list(Priority)),
        st.lists(st.integers(1, 9), min_size=1, max_size=4),
    ),
    max_size=8,
)


def _submission(
    loop: asyncio.AbstractEventLoop, age_s: int, group: str, priority: Priority
) -> Submission[int]:
    future: asyncio.Future[list[int]] = loop.create_future()
    return Submission(future, [], 0, NOW - age_s, priority, NEVER, group)


@given(submissions, st.integers(1, 20))
def test_batches_are_those_of_the_most_urgent_items(
    given_items: list[tuple[int, str, Priority, list[int]]], max_tokens: int
) -> None:
    loop = asyncio.new_event_loop()
    queue: ItemQueue[tuple[int, int], int] = ItemQueue()
    budget = Budget(max_tokens, bulk_delay_s=1.5)
    left: dict[tuple[int, int], tuple[float, str]] = {}
    order = sorted(given_items, key=lambda item: -item[0])
    for number, (age_s, group, priority, lengths) in enumerate(order):
        items = [(number, at) for at in range(len(lengths))]
        queue.add(items, lengths, _submission(loop, age_s, group, priority))
        urgency = age_s - (1.5 if priority is Priority.BULK else 0.0)
        left |= {item: (urgency, group) for item in items}
    while left:
        batch = queue.take(budget, NOW)
        items = [queued.item for queued in batch]
        urgent = max(urgency for urgency, _ in left.values())
        taken = [left.pop(item) for item in items]

        assert max(urgency for urgency, _ in taken) == urgent
        assert len({group for _, group in taken}) == 1
        assert sum(queued.length for queued in batch) <= max_tokens or len(batch) == 1
        assert (queue.count, bool(queue.tokens)) == (len(left), bool(left))
    loop.close()


def test_items_of_other_groups_keep_their_order() -> None:
    loop = asyncio.new_event_loop()
    queue: ItemQueue[str, int] = ItemQueue()
    for name, group in (("a1", "a"), ("b1", "b"), ("a2", "a"), ("b2", "b"), ("c1", "c")):
        queue.add([name], [1], _submission(loop, 0, group, Priority.INTERACTIVE))
    batches = [[one.item for one in queue.take(Budget(10), NOW)] for _ in range(3)]
    loop.close()

    assert batches == [["a1", "a2"], ["b1", "b2"], ["c1"]]
