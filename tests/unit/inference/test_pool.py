"""The pool of models: who is loaded when, where, and what is told of it.

`Workshop` and `Visitor` serve the other files about the pool too.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import pytest

from embedder.inference.pool import ModelPool
from embedder.inference.residency import State

Pool = ModelPool[str, "Model"]


@dataclass(eq=False)
class Model:
    """Something that can be loaded; ``alive`` until it is unloaded."""

    key: str
    bytes: int
    alive: bool = True


class Clock:
    """Shows the time that the test sets."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Workshop:
    """Makes models of given sizes, each when the test says so, and writes down what it did.

    It stands in for the threads of the running loop, which ends with the test.
    """

    def __init__(
        self, sizes: Mapping[str, int], *, estimates: Mapping[str, int] | None = None
    ) -> None:
        self.sizes = sizes
        self.estimates = dict(estimates or sizes)
        self.clock = Clock()
        self.broken: dict[str, BaseException] = {}
        self.log: list[str] = []
        self.alive: list[Model] = []
        self.jobs: list[tuple[asyncio.Future[Any], Callable[[], Any]]] = []
        loop = asyncio.get_running_loop()
        pytest.MonkeyPatch().setattr(loop, "run_in_executor", self._start)

    def pool(self, max_bytes: int | None = None, *, idle_unload_s: float | None = None) -> Pool:
        return ModelPool(
            self.load,
            unload=self.unload,
            size=lambda model: model.bytes,
            estimate=lambda key: self.estimates[key],
            max_bytes=max_bytes,
            idle_unload_s=idle_unload_s,
            clock=self.clock,
        )

    def load(self, key: str) -> Model:
        if key in self.broken:
            raise self.broken[key]
        self.log.append(f"load {key}")
        self.alive.append(Model(key, self.sizes[key]))
        return self.alive[-1]

    def unload(self, model: Model) -> None:
        assert model.alive
        model.alive = False
        self.alive.remove(model)
        self.log.append(f"unload {model.key}")

    def _start(
        self, executor: None, job: Callable[..., Any], *arguments: Any
    ) -> asyncio.Future[Any]:
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.jobs.append((future, partial(job, *arguments)))
        return future

    def end_load(self) -> None:
        """Let the load that was begun first end; what follows from it is still to happen."""
        future, job = self.jobs.pop(0)
        future.set_result(job())

    async def make(self) -> None:
        """Let every load end, and everything happen that follows."""
        await settle()
        while self.jobs:
            self.end_load()
            await settle()


class Visitor:
    """A task that uses a model until it is told to leave; ``model`` is there while it does."""

    present: ClassVar[set[Visitor]] = set()
    """Loops keep only weak references to tasks."""

    def __init__(self, pool: Pool, key: str, deadline: float | None = None) -> None:
        self.model: Model | None = None
        self._door = asyncio.Event()
        self.task = asyncio.get_running_loop().create_task(self._visit(pool, key, deadline))
        self.present.add(self)
        self.task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self.present.discard(self)
        if not task.cancelled():
            task.exception()  # retrieved here: not every test asks how each visit ended

    async def _visit(self, pool: Pool, key: str, deadline: float | None) -> None:
        async with pool.use(key, deadline) as model:
            assert model.alive
            assert model.key == key
            self.model = model
            try:
                await self._door.wait()
            finally:
                assert model.alive, "unloaded while in use"
                self.model = None

    def leave(self) -> None:
        self._door.set()

    @property
    def status(self) -> str:
        """Return where the visitor stands, or the name of the error that it met."""
        if not self.task.done():
            return "waiting" if self.model is None else "inside"
        if self.task.cancelled():
            return "cancelled"
        error = self.task.exception()
        return "left" if error is None else type(error).__name__


async def settle() -> None:
    """Let everything happen that needs no further event."""
    for _ in range(8):
        await asyncio.sleep(0)


async def use_once(workshop: Workshop, pool: Pool, *keys: str) -> None:
    """Use models one after the other, and leave them."""
    for key in keys:
        visitor = Visitor(pool, key)
        await workshop.make()
        visitor.leave()
        await visitor.task


async def pinned(workshop: Workshop, pool: Pool, key: str) -> None:
    """Pin a model that may have to be loaded."""
    pin = asyncio.get_running_loop().create_task(pool.pin(key))
    await workshop.make()
    await pin


def states(pool: Pool) -> dict[str, State]:
    return {state.key: state.state for state in pool.states()}


async def test_all_who_ask_at_once_share_one_load() -> None:
    workshop = Workshop({"a": 1})
    pool = workshop.pool()
    visitors = [Visitor(pool, "a") for _ in range(3)]
    await workshop.make()

    assert workshop.log == ["load a"]
    assert {visitor.model for visitor in visitors} == {*workshop.alive}


async def test_a_ready_model_is_given_without_a_pause() -> None:
    workshop = Workshop({"a": 1})
    pool = workshop.pool()
    await use_once(workshop, pool, "a")
    tasks = asyncio.all_tasks()
    use = pool.use("a", deadline=-1.0)

    with pytest.raises(StopIteration) as entered:
        use.__aenter__().__await__().__next__()
    in_use = pool.states()[0].in_use
    with pytest.raises(StopIteration):
        use.__aexit__(None, None, None).__await__().__next__()

    assert entered.value.value is workshop.alive[0]
    assert (in_use, pool.states()[0].in_use) == (1, 0)
    assert asyncio.all_tasks() == tasks


async def test_one_model_is_loaded_at_a_time_in_the_order_of_asking() -> None:
    workshop = Workshop({"a": 1, "b": 1, "c": 1})
    pool = workshop.pool()
    for key in "bca":
        Visitor(pool, key)
    jobs = []
    for _ in range(3):
        await settle()
        jobs.append(len(workshop.jobs))
        workshop.end_load()
    await settle()

    assert jobs == [1, 1, 1]
    assert workshop.log == ["load b", "load c", "load a"]


async def test_idle_models_are_unloaded_unless_pinned_in_use_or_used_lately() -> None:
    workshop = Workshop({key: 1 for key in ("pinned", "busy", "old", "late")})
    pool = workshop.pool(idle_unload_s=10)
    await pinned(workshop, pool, "pinned")
    Visitor(pool, "busy")
    await use_once(workshop, pool, "old", "late")
    workshop.clock.now = 5
    await use_once(workshop, pool, "late")
    workshop.clock.now = 9.9
    too_early = await pool.unload_idle()
    workshop.clock.now = 10
    gone = await pool.unload_idle()

    assert (too_early, gone) == ([], ["old"])
    assert workshop.log[4:] == ["unload old"]
    assert {*states(pool)} == {"pinned", "busy", "late"}


async def test_without_a_limit_of_idleness_nothing_is_ever_too_idle() -> None:
    workshop = Workshop({"a": 1})
    pool = workshop.pool()
    await use_once(workshop, pool, "a")
    workshop.clock.now = 1e9

    assert await pool.unload_idle() == []
    assert workshop.alive


async def test_states_tell_how_far_each_model_is() -> None:
    workshop = Workshop(
        {"ready": 3, "slow": 2, "next": 1, "broken": 1},
        estimates={"ready": 4, "slow": 2, "next": 1, "broken": 1},
    )
    pool = workshop.pool()
    workshop.broken["broken"] = OSError("no such file")
    first = Visitor(pool, "ready")
    await settle()
    workshop.clock.now = 7
    await workshop.make()
    await asyncio.wait([Visitor(pool, "broken").task, asyncio.create_task(workshop.make())])
    first.leave()
    Visitor(pool, "slow")
    Visitor(pool, "next")
    await settle()
    workshop.clock.now = 9
    told = {state.key: state for state in pool.states()}

    assert (told["ready"].bytes, told["ready"].load_s, told["ready"].idle_s) == (3, 7, 2)
    assert (told["slow"].state, told["slow"].loading_s) == (State.LOADING, 2)
    assert (told["next"].state, told["next"].loading_s) == (State.WAITING, 2)
    assert (told["broken"].state, told["broken"].error) == (State.FAILED, "OSError: no such file")


async def test_loads_run_in_a_thread_and_everything_else_on_the_loop() -> None:
    where: dict[str, int] = {}

    def note(what: str) -> int:
        where[what] = threading.get_ident()
        return 1

    pool: ModelPool[str, int] = ModelPool(
        note,
        unload=lambda _: where.update(unload=threading.get_ident()),
        size=lambda _: note("size"),
        estimate=lambda _: note("estimate"),
        idle_unload_s=0,
    )
    async with pool.use("load"):
        pass
    await pool.unload_idle()

    here = threading.get_ident()
    assert {what for what, thread in where.items() if thread == here} == {
        "estimate",
        "size",
        "unload",
    }
    assert where["load"] != here
