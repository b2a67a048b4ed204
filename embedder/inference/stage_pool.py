"""The stages of several models in one process, loaded on demand; pinned models stay loaded."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Generic, TypeVar

from embedder.core.deadline import NEVER, Deadline
from embedder.inference.pool import ModelPool
from embedder.inference.residency import LoadState, ModelState
from embedder.measurements.loads import LoadStats
from embedder.models.catalogue import model_names
from embedder.settings.model import ModelSettings, PoolSettings

StageT = TypeVar("StageT")


class StagePool(Generic[StageT]):
    """A pool of stages, keyed by the settings of their models; the functions are as for its pool.

    ``max_bytes`` of None sets no limit.
    """

    def __init__(
        self,
        load: Callable[[ModelSettings], StageT],
        *,
        unload: Callable[[StageT], None],
        size: Callable[[StageT], int],
        estimate: Callable[[ModelSettings], int],
        max_bytes: int | None,
        settings: PoolSettings,
    ) -> None:
        self._settings: dict[str, ModelSettings] = {}
        self._loads: defaultdict[str, LoadStats] = defaultdict(LoadStats)
        self._load = load
        self._estimate = estimate
        self._estimates: dict[str, int | Exception] = {}
        self._pins: set[str] = set()
        self._pinning = asyncio.Lock()
        self._pool: ModelPool[str, StageT] = ModelPool(
            self._timed_load,
            unload=unload,
            size=size,
            estimate=self._estimated,
            max_bytes=max_bytes,
            idle_unload_s=settings.idle_unload_s,
        )

    @property
    def loaded(self) -> Mapping[str, StageT]:
        """Return the loaded stages, by the keys of their models."""
        return self._pool.models

    def use(
        self, model: ModelSettings, deadline: Deadline = NEVER
    ) -> AbstractAsyncContextManager[StageT]:
        """Give the stage of a model, as `ModelPool.use`."""
        key = self._key(model)
        return (self._pool.use if key in self.loaded else self._load_and_use)(key, deadline)

    async def pin(self, models: Sequence[ModelSettings]) -> None:
        """Load and pin these models, and unpin all others.

        Raises:
            ConfigurationError: a model cannot be loaded; the other models are pinned.
        """
        async with self._pinning:
            wanted = {self._key(model) for model in models}
            failed: list[Exception] = []
            for key in sorted(wanted - self._pins):
                try:
                    await self._read_estimate(key)
                    await self._pool.pin(key)
                except Exception as error:  # noqa: BLE001 - the other models are still needed
                    failed.append(error)
                else:
                    self._pins.add(key)
            if failed:
                raise failed[0]
            # Last, because requests may use the old models until the new ones are ready.
            for key in self._pins - wanted:
                self._pool.unpin(key)
            self._pins = wanted

    async def unload_idle(self) -> None:
        """Unload models that have not been used for ``pool.idle_unload_s``."""
        await self._pool.unload_idle()

    def states(self) -> list[ModelState[str]]:
        """Return the state of each model that waits, loads, is ready, or failed to load."""
        return self._pool.states()

    def load_stats(self) -> Mapping[str, LoadStats]:
        """Return the loads of each model, by its name."""
        for one in self._loads.values():
            one.loaded = one.bytes = 0
        for state in self.states():
            if state.state is LoadState.READY:
                self._loads[self.name_of(state.key)].loaded = 1
                self._loads[self.name_of(state.key)].bytes += state.bytes
        return self._loads

    def name_of(self, key: str) -> str:
        """Return the name of the model with this key."""
        return model_names(self._settings[key])[0]

    def _timed_load(self, key: str) -> StageT:
        """Load a stage in the thread of the pool, which loads one at a time."""
        loads, start_s = self._loads[self.name_of(key)], time.monotonic()
        try:
            stage = self._load(self._settings[key])
        except BaseException:
            loads.failures += 1
            raise
        loads.seconds.observe(time.monotonic() - start_s)
        return stage

    @asynccontextmanager
    async def _load_and_use(self, key: str, deadline: Deadline) -> AsyncIterator[StageT]:
        await self._read_estimate(key)
        async with self._pool.use(key, deadline) as stage:
            yield stage

    async def _read_estimate(self, key: str) -> None:
        """Estimate the size of a model before its load; in a thread, because it reads files."""
        self._loads[self.name_of(key)]  # made here, because the loading thread must not

        def read() -> int | Exception:
            try:
                return self._estimate(self._settings[key])
            except Exception as error:  # noqa: BLE001 - the pool reports it
                return error

        self._estimates[key] = await asyncio.to_thread(read)

    def _estimated(self, key: str) -> int:
        estimate = self._estimates[key]
        if isinstance(estimate, Exception):
            raise estimate
        return estimate

    def _key(self, model: ModelSettings) -> str:
        """Return the pool's key of a model, and remember the settings for its load."""
        key = model.key
        self._settings[key] = model  # settings that are not part of the key may change
        return key
