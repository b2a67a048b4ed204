"""Any interleaving of callers, cancellations and failures gives each caller its own outcome."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from embedder.batching.batcher import Batcher
from embedder.batching.packing import Budget
from embedder.batching.queue import BatchContext
from embedder.core.errors import OutOfMemory
from embedder.core.types import Priority
from tests.unit.examples import TIMES


@dataclass(frozen=True)
class Submit:
    """A caller submits items: the length of each, and whether it is poisoned."""

    items: list[tuple[int, bool]]
    priority: Priority


@dataclass(frozen=True)
class Cancel:
    """One of the callers so far is cancelled."""

    which: int


@dataclass(frozen=True)
class End:
    """One of the running batches ends."""

    which: int


@dataclass(frozen=True)
class Tick:
    """The event loop runs one iteration."""


Step = Submit | Cancel | End | Tick

STEPS: st.SearchStrategy[list[Step]] = st.lists(
    st.one_of(
        st.builds(
            Submit,
            st.lists(
                st.tuples(st.integers(1, 5), st.sampled_from([False] * 5 + [True])), max_size=6
            ),
            st.sampled_from(Priority),
        ),
        st.builds(Cancel, st.integers(0, 20)),
        st.builds(End, st.integers(0, 5)),
        st.just(Tick()),
    ),
    max_size=40,
)


class Poisoned(Exception):
    """The device cannot compute this item."""

    def __init__(self, item: int) -> None:
        super().__init__(item)
        self.item = item


@dataclass
class Simulation:
    """A device, and the expected outcome of every caller."""

    capacity: int
    slots: int
    callers: list[asyncio.Task[list[int]]] = field(default_factory=list)
    submitted: list[range] = field(default_factory=list)
    cancelled: set[int] = field(default_factory=set)
    poisoned: set[int] = field(default_factory=set)
    pending: list[asyncio.Event] = field(default_factory=list)
    released: bool = False
    running: int = 0
    items: int = 0

    async def run(self, items: list[int], context: BatchContext) -> Sequence[int]:
        release = asyncio.Event()
        self.pending.append(release)
        self.running += 1
        try:
            if not self.released:
                await release.wait()
        finally:
            self.pending.remove(release)
            self.running -= 1
        if len(items) > self.capacity:
            raise OutOfMemory("full")
        for item in items:
            if item in self.poisoned:
                raise Poisoned(item)
        return [item * 10 for item in items]

    def submit(self, batcher: Batcher[int, int], step: Submit) -> None:
        items = range(self.items, self.items + len(step.items))
        self.items += len(items)
        self.poisoned |= {item for item, (_, bad) in zip(items, step.items, strict=True) if bad}
        self.submitted.append(items)
        lengths = [length for length, _ in step.items]
        work = batcher.submit(items, lengths, priority=step.priority)
        self.callers.append(asyncio.get_running_loop().create_task(work))

    async def do(self, batcher: Batcher[int, int], step: Step) -> None:
        if isinstance(step, Submit):
            self.submit(batcher, step)
        elif isinstance(step, Tick):
            await asyncio.sleep(0)
        elif isinstance(step, Cancel) and self.callers:
            which = step.which % len(self.callers)
            if self.callers[which].cancel():
                self.cancelled.add(which)
        elif isinstance(step, End) and self.pending:
            self.pending[step.which % len(self.pending)].set()

    async def finish(self) -> None:
        """Let all running and queued batches end."""
        self.released = True
        for release in self.pending:
            release.set()
        await asyncio.gather(*self.callers, return_exceptions=True)
        for _ in range(10):
            await asyncio.sleep(0)

    def check(self, number: int) -> None:
        """Check the outcome of a caller."""
        caller, items = self.callers[number], self.submitted[number]
        if number in self.cancelled:
            assert caller.cancelled()
        elif self.poisoned & set(items):
            error = caller.exception()
            assert isinstance(error, Poisoned)
            assert error.item in items
        else:
            assert caller.result() == [item * 10 for item in items]


async def play(simulation: Simulation, steps: list[Step], batcher: Batcher[int, int]) -> int:
    """Perform all steps; return how many batches can run at once afterwards."""
    for step in steps:
        await simulation.do(batcher, step)
    await simulation.finish()
    simulation.released, simulation.poisoned = False, set()
    for _ in range(simulation.slots + 1):
        simulation.submit(batcher, Submit([(1000, False)], Priority.INTERACTIVE))
    for _ in range(5):
        await asyncio.sleep(0)
    concurrent = simulation.running
    await simulation.finish()
    return concurrent


@settings(deadline=None, max_examples=100 * TIMES)
@given(
    steps=STEPS,
    slots=st.integers(1, 3),
    capacity=st.integers(1, 12),
    padded=st.booleans(),
    cancel_abandoned=st.booleans(),
)
def test_every_caller_ends_with_its_result_error_or_cancellation(
    steps: list[Step], slots: int, capacity: int, padded: bool, cancel_abandoned: bool
) -> None:
    simulation = Simulation(capacity, slots)

    async def scenario() -> tuple[int, int]:
        batcher = Batcher(
            simulation.run,
            budget=Budget(max_tokens=12, padded=padded),
            slots=slots,
            cancel_abandoned=cancel_abandoned,
        )
        poisoned = simulation.poisoned
        concurrent = await play(simulation, steps, batcher)
        simulation.poisoned = poisoned
        assert 1 <= batcher.budget.max_tokens == batcher.stats.budget_tokens <= 12
        return concurrent, len(batcher)

    free_slots, left_waiting = asyncio.run(scenario())

    for number in range(len(simulation.callers)):
        simulation.check(number)
    assert left_waiting == 0
    assert simulation.running == 0
    assert free_slots == slots
