"""Whatever falls into one turn of the loop, every user of a pool ends, and no use is left behind.

Here nothing comes to rest between the steps, so that any two of them may meet.
"""

from __future__ import annotations

import asyncio
import random
import threading
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedder.inference.pool import ModelPool
from embedder.inference.residency import State
from tests.unit.examples import TIMES
from tests.unit.inference.test_pool import Model, Pool, Visitor, Workshop, settle

SIZES = {"a": 1, "b": 2, "c": 3}
Which = st.integers(0, 20)

Step = tuple[str, int]
ACTIONS = [
    "enter",
    "enter",
    "enter",
    "late",
    "leave",
    "cancel",
    "land",
    "fail",
    "tick",
    "turn",
    "pin",
]
STEPS: st.SearchStrategy[list[Step]] = st.lists(
    st.tuples(st.sampled_from(ACTIONS), Which), max_size=60
)


@dataclass
class World:
    """A pool, its users and its pins; each step of a play is done without waiting for any other."""

    workshop: Workshop
    pool: Pool
    visitors: list[Visitor] = field(default_factory=list)
    pins: list[asyncio.Task[None]] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)

    async def do(self, step: str, which: int) -> None:
        key = "abc"[which % 3]
        if step in ("enter", "late"):
            deadline = None if step == "enter" else self.workshop.clock.now + which % 5
            self.visitors.append(Visitor(self.pool, key, deadline))
        elif step == "pin":
            self.pins.append(asyncio.create_task(self.pool.pin(key)))
            self.keys.append(key)
        elif step in ("tick", "turn"):
            self.workshop.clock.now += step == "tick"
            await asyncio.sleep(0)
        elif step in ("land", "fail") and self.workshop.jobs:
            self.workshop.broken = {} if step == "land" else dict.fromkeys("abc", OSError())
            self.workshop.end_load()
        elif step in ("leave", "cancel") and self.visitors:
            visitor = self.visitors[which % len(self.visitors)]
            visitor.leave() if step == "leave" else visitor.task.cancel()
        self.check()

    def check(self) -> None:
        """Fail if a budget, a user or the order of loads has come to harm."""
        held = [s.bytes for s in self.pool.states() if s.state in (State.READY, State.LOADING)]
        assert sum(held) <= 4
        assert len(self.workshop.jobs) <= 1
        assert all(visitor.model is None or visitor.model.alive for visitor in self.visitors)

    async def finish(self) -> None:
        """Let everybody leave and everything end that can."""
        self.workshop.broken = {}
        for visitor in self.visitors:
            visitor.leave()
        for _ in range(len(self.visitors) + len(self.pins) + 1):
            await self.workshop.make()
            ended = [at for at, pin in enumerate(self.pins) if pin.done()]
            for at in reversed(ended):
                pin, key = self.pins.pop(at), self.keys.pop(at)
                if pin.exception() is None:
                    self.pool.unpin(key)
            if not self.pins and all(visitor.task.done() for visitor in self.visitors):
                return


async def played(steps: list[Step]) -> World:
    workshop = Workshop(SIZES, estimates={"a": 1, "b": 1, "c": 3})
    pytest.MonkeyPatch().setattr(asyncio.get_running_loop(), "time", workshop.clock)
    world = World(workshop, workshop.pool(4))
    for step, which in steps:
        await world.do(step, which)
    return world


@settings(max_examples=100 * TIMES)
@given(steps=STEPS)
def test_every_user_ends_and_every_use_with_it(steps: list[Step]) -> None:
    async def play() -> None:
        world = await played(steps)
        await world.finish()

        ends = {visitor.status for visitor in world.visitors}
        assert ends <= {"left", "cancelled", "OSError", "PoolFull", "DeadlineExceeded"}
        assert world.pins == []
        assert {(state.in_use, state.pinned) for state in world.pool.states()} <= {(0, False)}
        for key in SIZES:  # whatever has happened, everything can still be loaded
            visitor = Visitor(world.pool, key)
            await world.workshop.make()
            assert visitor.status == "inside"
            visitor.leave()
            await settle()

    asyncio.run(play())


@settings(max_examples=100 * TIMES)
@given(before=STEPS, after=STEPS)
def test_whenever_a_pool_is_closed_nothing_is_left_of_it(
    before: list[Step], after: list[Step]
) -> None:
    async def play() -> None:
        world = await played(before)
        early = len(world.visitors)
        await world.pool.close()
        for step, which in after:
            await world.do(step, which)
        await world.finish()

        late = {visitor.status for visitor in world.visitors[early:]}
        assert late <= {"Unavailable", "cancelled"}
        assert {"inside", "waiting"}.isdisjoint(visitor.status for visitor in world.visitors)
        assert world.pins == []
        assert world.workshop.alive == []
        assert {state.state for state in world.pool.states()} <= {State.FAILED}

    asyncio.run(play())


async def test_hundreds_of_users_at_random_never_meet_a_model_that_is_gone() -> None:
    chance = random.Random(7)
    keys = [f"model-{number}" for number in range(6)]
    loading, most, held, budget = 0, 0, 0, 4

    def load(key: str) -> Model:
        nonlocal loading, most, held
        loading += 1
        most = max(most, loading)
        held += 1
        assert held <= budget
        threading.Event().wait(0.001)
        loading -= 1
        return Model(key, 1)

    def unload(model: Model) -> None:
        nonlocal held
        held -= 1
        model.alive = False

    pool: Pool = ModelPool(
        load, unload=unload, size=lambda _: 1, estimate=lambda _: 1, max_bytes=budget
    )

    async def user() -> int:
        met = 0
        for _ in range(3):
            key = chance.choice(keys)
            async with pool.use(key) as model:
                await asyncio.sleep(chance.random() / 500)
                assert model.alive
                met += model.key == key
        return met

    met = await asyncio.wait_for(asyncio.gather(*(user() for _ in range(300))), 30)
    await pool.close()

    assert met == [3] * 300
    assert (most, held) == (1, 0)
