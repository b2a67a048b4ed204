"""A model pool whose loads end on a test's command, and users that a test controls."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import pytest

from embedder.core.deadline import NEVER, Deadline
from embedder.inference.pool import ModelPool
from embedder.inference.residency import LoadState
from tests.unit.manual_clock import ManualClock

Pool = ModelPool[str, "Model"]


@dataclass(eq=False)
class Model:
    """A fake model; ``alive`` until it is unloaded."""

    key: str
    bytes: int
    alive: bool = True


class FakeLoader:
    """Loads models of given sizes when the test says so, and logs loads and unloads.

    It replaces the executor of the running loop, which ends with the test.
    """

    def __init__(
        self, sizes: Mapping[str, int], *, estimates: Mapping[str, int] | None = None
    ) -> None:
        self.sizes = sizes
        self.estimates = dict(estimates or sizes)
        self.clock = ManualClock()
        self.broken: dict[str, BaseException] = {}
        self.log: list[str] = []
        self.alive: list[Model] = []
        self.pending: list[tuple[asyncio.Future[Any], Callable[[], Any]]] = []
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
        self.pending.append((future, partial(job, *arguments)))
        return future

    def finish_load(self) -> None:
        """Finish the oldest load; the callbacks that it triggers have not run yet."""
        future, job = self.pending.pop(0)
        future.set_result(job())

    async def finish_loads(self) -> None:
        """Finish all loads and run the callbacks that they trigger."""
        await settle()
        while self.pending:
            self.finish_load()
            await settle()


class PoolUser:
    """A task that uses a model until `release` is called; ``model`` is set meanwhile."""

    running: ClassVar[set[PoolUser]] = set()
    """Keeps tasks alive, since event loops refer to them weakly."""

    def __init__(self, pool: Pool, key: str, deadline: Deadline = NEVER) -> None:
        self.model: Model | None = None
        self._released = asyncio.Event()
        self.task = asyncio.get_running_loop().create_task(self._use(pool, key, deadline))
        self.running.add(self)
        self.task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self.running.discard(self)
        if not task.cancelled():
            task.exception()  # retrieved, because not every test does

    async def _use(self, pool: Pool, key: str, deadline: Deadline) -> None:
        async with pool.use(key, deadline) as model:
            assert model.alive
            assert model.key == key
            self.model = model
            try:
                await self._released.wait()
            finally:
                assert model.alive, "unloaded while in use"
                self.model = None

    def release(self) -> None:
        self._released.set()

    @property
    def status(self) -> str:
        """Return ``waiting``, ``using``, ``released``, ``cancelled`` or the name of an error."""
        if not self.task.done():
            return "waiting" if self.model is None else "using"
        if self.task.cancelled():
            return "cancelled"
        error = self.task.exception()
        return "released" if error is None else type(error).__name__


async def settle() -> None:
    """Run all callbacks that are ready."""
    for _ in range(8):
        await asyncio.sleep(0)


async def use_in_turn(loader: FakeLoader, pool: Pool, *keys: str) -> None:
    """Use and release models one after the other."""
    for key in keys:
        user = PoolUser(pool, key)
        await loader.finish_loads()
        user.release()
        await user.task


async def pinned(loader: FakeLoader, pool: Pool, key: str) -> None:
    """Pin a model, and load it if necessary."""
    pin = asyncio.get_running_loop().create_task(pool.pin(key))
    await loader.finish_loads()
    await pin


def states(pool: Pool) -> dict[str, LoadState]:
    return {state.key: state.state for state in pool.states()}
