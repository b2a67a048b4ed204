"""Several models in one process, loaded on demand and kept within a byte budget.

State changes are synchronous on the event loop. Callers await only their own future, so cancelling
one leaves no lock held. After each change the whole pool is examined again, so no wake-up is lost.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from functools import partial
from typing import Generic, TypeVar

from embedder.core.deadline import NEVER, Deadline
from embedder.core.errors import DeadlineExceeded, PoolFull
from embedder.inference.load_thread import start_load
from embedder.inference.residency import KeyT, LoadState, ModelState, NoRoom, Residency

ModelT = TypeVar("ModelT")

logger = logging.getLogger(__name__)


class ModelPool(Generic[KeyT, ModelT]):
    """Load models on demand and evict the least recently used to keep a byte budget.

    ``load`` blocks and runs in a thread, one load at a time. ``unload``, ``size`` (bytes of a
    loaded model) and ``estimate`` (its expected bytes) run on the event loop and must not block. A
    key always stands for the same model, so the size of an earlier load replaces the estimate.
    Models are evicted before a load. A model that is larger than estimated evicts more of them, or
    is unloaded and waits for room by its true size.

    A model in use is never evicted, so callers should set a deadline and not hold one model while
    they wait for another. All calls must come from one event loop; deadlines and idle times are in
    seconds of ``clock``. ``models`` are the loaded models by their keys; do not change it.
    """

    def __init__(  # noqa: PLR0913 - four functions for a model, two limits and a clock
        self,
        load: Callable[[KeyT], ModelT],
        *,
        unload: Callable[[ModelT], None],
        size: Callable[[ModelT], int],
        estimate: Callable[[KeyT], int],
        max_bytes: int | None = None,
        idle_unload_s: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._load = load
        self._unload = unload
        self._size = size
        self._estimate = estimate
        self._idle_unload_s = idle_unload_s
        self._clock = clock
        self._residency: Residency[KeyT] = Residency(max_bytes)
        self.models: dict[KeyT, ModelT] = {}
        self._sizes: dict[KeyT, int] = {}
        # Models to load and the callers that wait for each, both in order of arrival.
        self._waiters: dict[KeyT, dict[asyncio.Future[ModelT], None]] = {}
        self._loading = False

    @asynccontextmanager
    async def use(self, key: KeyT, deadline: Deadline = NEVER) -> AsyncIterator[ModelT]:
        """Give a model that stays loaded until the ``async with`` block ends.

        A ready model is given without suspending. Otherwise one load serves all callers, and it
        finishes even if they are cancelled. ``deadline`` is a time of the pool's clock.

        Raises:
            DeadlineExceeded: the model was not ready in time.
            PoolFull: the model does not fit beside the pinned models.
            Exception: the error of ``load``, ``estimate`` or ``size``.
        """
        model = await self._acquire(key, deadline)
        try:
            yield model
        finally:
            self._release(key)

    async def pin(self, key: KeyT) -> None:
        """Load a model if necessary, and keep it until each pin has been removed by `unpin`.

        Raises what `use` raises; then the model is not pinned.
        """
        async with self.use(key):
            self._residency.pin(key)
            self._schedule()

    def unpin(self, key: KeyT) -> None:
        """Remove one pin; a model without pins may be evicted.

        Raises:
            InvalidInput: the model is not pinned.
        """
        self._residency.unpin(key)
        self._schedule()

    def states(self) -> list[ModelState[KeyT]]:
        """Return the state of each model that waits, loads, is ready, or failed to load."""
        return self._residency.states(self._clock())

    async def unload_idle(self) -> list[KeyT]:
        """Unload unpinned models not used for ``idle_unload_s``, and return their keys."""
        if self._idle_unload_s is None:
            return []
        idle = self._residency.idle_keys(self._clock(), self._idle_unload_s)
        self._unload_all(self._residency.remove(idle))
        return idle

    def _release(self, key: KeyT) -> None:
        unused = self._residency.release(key, self._clock())
        if unused and self._waiters:
            self._schedule()

    async def _acquire(self, key: KeyT, deadline: Deadline) -> ModelT:
        """Return a model with one use counted, as soon as it is ready."""
        if key in self.models:
            self._residency.acquire(key)
            return self.models[key]
        left_s = deadline - self._clock()
        late = DeadlineExceeded("model pool")
        if left_s <= 0:
            raise late
        loop = asyncio.get_running_loop()
        future: asyncio.Future[ModelT] = loop.create_future()
        timer = None
        if deadline != NEVER:
            timer = loop.call_later(left_s, _fail_futures, [future], late)
        try:
            self._enqueue(key, future)
            return await future
        except BaseException:
            self._cancel(key, future)
            raise
        finally:
            if timer is not None:
                timer.cancel()
            del future  # its error refers to this frame and to the frames of the load

    def _enqueue(self, key: KeyT, future: asyncio.Future[ModelT]) -> None:
        if key not in self._waiters:
            try:
                expected = self._sizes[key] if key in self._sizes else self._estimate(key)
            except Exception as error:
                self._residency.fail(key, error, self._clock())
                raise
            self._residency.enqueue(key, expected, self._clock())
            self._waiters[key] = {}
        self._waiters[key][future] = None
        self._schedule()

    def _cancel(self, key: KeyT, future: asyncio.Future[ModelT]) -> None:
        """Remove a caller that does not take its model."""
        self._waiters.get(key, {}).pop(future, None)
        if future.done() and not future.cancelled() and future.exception() is None:
            self._release(key)  # cancelled after the model had been assigned
        else:
            self._schedule()

    def _schedule(self) -> None:
        """Fail, drop and start loads as the current state allows; called after every change."""
        for key, futures in [*self._waiters.items()]:
            waiting = self._residency.state(key) is LoadState.WAITING
            if waiting and all(future.done() for future in futures):
                del self._waiters[key]
                self._residency.cancel(key)
        for key, why in self._residency.impossible():
            self._fail(key, PoolFull(str(key), why.needed_bytes, why.max_bytes, why.pinned_bytes))
        while self._waiters and not self._loading:
            key = next(iter(self._waiters))
            evicted = self._residency.choose_evictions(key)
            if isinstance(evicted, NoRoom):
                return
            self._start_load(key, evicted)

    def _start_load(self, key: KeyT, evicted: list[KeyT]) -> None:
        self._loading = True
        self._residency.start_loading(key, self._clock())
        self._unload_all(self._residency.remove(evicted))
        start_load(partial(self._load, key), partial(self._load_finished, key))

    def _load_finished(self, key: KeyT, outcome: ModelT | Exception) -> None:
        self._loading = False
        if isinstance(outcome, Exception):
            self._fail(key, outcome)
        else:
            self._admit(key, outcome)
        self._schedule()

    def _admit(self, key: KeyT, model: ModelT) -> None:
        """Keep a loaded model if its true size fits, and give it to the waiting callers."""
        self.models[key] = model
        try:
            self._sizes[key] = self._size(model)
        except Exception as error:  # noqa: BLE001 - a model of unknown size cannot be kept
            self._fail(key, error)
            self._unload_all([key])
            return
        evicted = self._residency.choose_evictions(key, self._sizes[key])
        if isinstance(evicted, NoRoom):
            self._residency.enqueue(key, self._sizes[key], self._clock())
            self._unload_all([key])
        else:
            self._residency.finish_loading(key, self._sizes[key], self._clock())
            for future in self._waiters.pop(key):
                if not future.done():
                    self._residency.acquire(key)
                    future.set_result(model)
            self._unload_all(self._residency.remove(evicted))

    def _fail(self, key: KeyT, error: Exception) -> None:
        """Record why a model failed, and fail the callers that wait for it."""
        logger.warning("model %r cannot be loaded: %s", key, repr(error))
        self._residency.fail(key, error, self._clock())
        _fail_futures(self._waiters.pop(key, ()), error)

    def _unload_all(self, keys: list[KeyT]) -> None:
        for key in keys:
            try:
                self._unload(self.models.pop(key))
            except Exception:
                logger.exception("model %r failed to unload; it counts as unloaded", key)


def _fail_futures(futures: Iterable[asyncio.Future[ModelT]], error: Exception) -> None:
    """Set an error on the futures that are not done."""
    for future in futures:
        if not future.done():
            future.set_exception(error)
