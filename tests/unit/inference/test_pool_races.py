"""In any interleaving of steps, every user of a pool ends and every use is released.

Callbacks do not run between the steps, so that any two steps may overlap.
"""

from __future__ import annotations

import asyncio
import random
import threading
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedder.core.deadline import NEVER, Deadline
from embedder.inference.pool import ModelPool
from embedder.inference.residency import LoadState
from tests.unit.examples import TIMES
from tests.unit.inference.fake_pool import FakeLoader, Model, Pool, PoolUser, settle

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
    """A pool, its users and its pins; each step is done without waiting for the others."""

    loader: FakeLoader
    pool: Pool
    users: list[PoolUser] = field(default_factory=list)
    pins: list[asyncio.Task[None]] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)

    async def do(self, step: str, which: int) -> None:
        key = "abc"[which % 3]
        if step in ("enter", "late"):
            deadline = NEVER if step == "enter" else Deadline(self.loader.clock.now + which % 5)
            self.users.append(PoolUser(self.pool, key, deadline))
        elif step == "pin":
            self.pins.append(asyncio.create_task(self.pool.pin(key)))
            self.keys.append(key)
        elif step in ("tick", "turn"):
            self.loader.clock.now += step == "tick"
            await asyncio.sleep(0)
        elif step in ("land", "fail") and self.loader.pending:
            self.loader.broken = {} if step == "land" else dict.fromkeys("abc", OSError())
            self.loader.finish_load()
        elif step in ("leave", "cancel") and self.users:
            user = self.users[which % len(self.users)]
            user.release() if step == "leave" else user.task.cancel()
        self.check()

    def check(self) -> None:
        """Check the budget, the users and that loads do not overlap."""
        held = [
            s.bytes for s in self.pool.states() if s.state in (LoadState.READY, LoadState.LOADING)
        ]
        assert sum(held) <= 4
        assert len(self.loader.pending) <= 1
        assert all(user.model is None or user.model.alive for user in self.users)

    async def finish(self) -> None:
        """Release all users and finish all loads and pins."""
        self.loader.broken = {}
        for user in self.users:
            user.release()
        for _ in range(len(self.users) + len(self.pins) + 1):
            await self.loader.finish_loads()
            ended = [at for at, pin in enumerate(self.pins) if pin.done()]
            for at in reversed(ended):
                pin, key = self.pins.pop(at), self.keys.pop(at)
                if pin.exception() is None:
                    self.pool.unpin(key)
            if not self.pins and all(user.task.done() for user in self.users):
                return


async def played(steps: list[Step]) -> World:
    loader = FakeLoader(SIZES, estimates={"a": 1, "b": 1, "c": 3})
    pytest.MonkeyPatch().setattr(asyncio.get_running_loop(), "time", loader.clock)
    world = World(loader, loader.pool(4))
    for step, which in steps:
        await world.do(step, which)
    return world


@settings(max_examples=100 * TIMES)
@given(steps=STEPS)
def test_every_user_ends_and_releases_its_model(steps: list[Step]) -> None:
    async def play() -> None:
        world = await played(steps)
        await world.finish()

        ends = {user.status for user in world.users}
        assert ends <= {"released", "cancelled", "OSError", "PoolFull", "DeadlineExceeded"}
        assert world.pins == []
        assert {(state.in_use, state.pinned) for state in world.pool.states()} <= {(0, False)}
        for key in SIZES:  # whatever has happened, everything can still be loaded
            user = PoolUser(world.pool, key)
            await world.loader.finish_loads()
            assert user.status == "using"
            user.release()
            await settle()

    asyncio.run(play())


def _one(_: object) -> int:
    return 1


async def test_hundreds_of_random_users_never_get_an_unloaded_model() -> None:
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
        load, unload=unload, size=_one, estimate=_one, max_bytes=budget, idle_unload_s=0
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

    met = await asyncio.gather(*(user() for _ in range(300)))
    await pool.unload_idle()

    assert met == [3] * 300
    assert (most, held) == (1, 0)
