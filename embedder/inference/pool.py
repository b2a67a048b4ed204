"""Several models in one process, loaded when they are asked for and kept by bytes.

Whatever changes the pool happens in one go on the event loop: a caller awaits nothing but a future
of its own, and there is neither a lock nor a task that a cancellation could break. What follows
from a change is found by looking at the whole pool again, so that no wake-up can be lost.
Knows nothing of what a model is; `residency` decides which must go.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Generic, TypeVar

from embedder.core.errors import BackendFailure, DeadlineExceeded, PoolFull, Unavailable
from embedder.inference.residency import KeyT, ModelState, NoRoom, Residency, State

ModelT = TypeVar("ModelT")

logger = logging.getLogger(__name__)


class ModelPool(Generic[KeyT, ModelT]):
    """Keep models within a byte budget; the least recently used make room for what is asked for.

    ``load`` blocks and is run in a thread, one load at a time. ``unload``, ``size`` (bytes of a
    loaded model) and ``estimate`` (bytes it is expected to have) are called on the event loop and
    must not block it. Room is made before a load, by the estimate or, for a model that was loaded
    before, by its size then: under one key there is always the same model. A load that fails
    touches no other model, but what had to make room for it has gone.

    The budget holds for what is loaded and being loaded. A model that turns out larger than its
    estimate makes more of the idle ones go; where even that is not enough it is unloaded itself,
    and waits for room by its true size, or is refused where there can never be any.

    A model that is in use without a break keeps its place, however long another waits for it: use
    is never delayed, and who must not wait forever brings a deadline. For the same reason, nobody
    should ask for a second model while holding a first that it might need the room of. Must be
    used from one event loop; deadlines and idleness are counted in seconds of ``clock``.
    """

    def __init__(  # noqa: PLR0913 - four ways to handle a model, two bounds and a clock
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
        self._models: dict[KeyT, ModelT] = {}
        self._sizes: dict[KeyT, int] = {}
        # What is not loaded yet, in order of arrival, each with those who wait for it in theirs.
        self._waiters: dict[KeyT, dict[asyncio.Future[ModelT], None]] = {}
        self._loading = False
        self._closed = False

    def use(self, key: KeyT, deadline: float | None = None) -> AbstractAsyncContextManager[ModelT]:
        """Give the model for the length of an ``async with``; it stays loaded until the block ends.

        A model that is ready is given at once. One that is not is loaded, once for all who ask
        for it; a caller that leaves or is cancelled does not disturb the others, and a load that
        has begun is finished even for nobody. ``deadline``, on the pool's clock, bounds the wait.

        Raises:
            DeadlineExceeded: the model was not ready in time.
            PoolFull: it does not fit beside the pinned models, whatever else goes.
            Unavailable: the pool is closed.
            Exception: whatever ``load``, ``estimate`` or ``size`` raised of this model.
        """
        return _Use(self, key, deadline)

    async def pin(self, key: KeyT, deadline: float | None = None) -> None:
        """Load a model if need be, and keep it until `unpin` has been called as often as this.

        Raises what `use` raises; the model is not pinned then.
        """
        async with self.use(key, deadline):
            self._residency.pin(key)
            self._advance()

    def unpin(self, key: KeyT) -> None:
        """Take one pin away; without any the model may go again.

        Raises:
            InvalidInput: the model is not pinned. Not once the pool is closed: that unpins all.
        """
        if not self._closed:
            self._residency.unpin(key)
            self._advance()

    def states(self) -> list[ModelState[KeyT]]:
        """Return every model that is waited for, being loaded, ready, or failed when last tried."""
        return self._residency.states(self._clock())

    async def unload_idle(self) -> list[KeyT]:
        """Unload what has not been used for ``idle_unload_s`` and is not pinned; return the keys.

        The pool has no clockwork of its own: its owner calls this from time to time.
        """
        if self._idle_unload_s is None:
            return []
        idle = self._residency.idle(self._clock(), self._idle_unload_s)
        self._discard(self._residency.remove(idle))
        return idle

    async def close(self) -> None:
        """Refuse all use, and unload what nobody uses, pinned or not; wait for nothing.

        Those who wait for a model have `Unavailable`. A model in use is unloaded when its last
        user leaves, and one that is being loaded as soon as it has been.
        """
        self._closed = True
        for futures in self._waiters.values():
            _refuse(futures, Unavailable("the model pool is closed"))
        self._waiters.clear()
        self._discard(self._residency.clear())

    def _release(self, key: KeyT) -> None:
        if not self._residency.release(key, self._clock()):
            return
        if self._closed:
            self._discard(self._residency.remove([key]))
        else:
            self._advance()

    async def _wait(self, key: KeyT, deadline: float | None) -> ModelT:
        """Return the model, taken, once it is ready."""
        if self._closed:
            raise Unavailable("the model pool is closed")
        left_s = None if deadline is None else deadline - self._clock()
        late = DeadlineExceeded("model pool")
        if left_s is not None and left_s <= 0:
            raise late
        loop = asyncio.get_running_loop()
        future: asyncio.Future[ModelT] = loop.create_future()
        timer = None if left_s is None else loop.call_later(left_s, _refuse, [future], late)
        try:
            self._ask(key, future)
            return await future
        except BaseException:
            self._withdraw(key, future)
            raise
        finally:
            if timer is not None:
                timer.cancel()
            del future  # its error has this frame, and the frames of a load, which may be large

    def _ask(self, key: KeyT, future: asyncio.Future[ModelT]) -> None:
        if key not in self._waiters:
            try:
                expected = self._sizes[key] if key in self._sizes else self._estimate(key)
            except Exception as error:
                self._residency.fail(key, error, self._clock())
                raise
            self._residency.wait(key, expected, self._clock())
            self._waiters[key] = {}
        self._waiters[key][future] = None
        self._advance()

    def _withdraw(self, key: KeyT, future: asyncio.Future[ModelT]) -> None:
        """Undo what was done for a caller that does not take its model."""
        self._waiters.get(key, {}).pop(future, None)
        if future.done() and not future.cancelled() and future.exception() is None:
            self._release(key)  # cancelled after the model had been handed over
        else:
            self._advance()

    def _advance(self) -> None:
        """Do all that has become time to do; to be called after every change."""
        if not self._waiters:
            return
        self._give_up_unwanted()
        for key, why in self._residency.hopeless():
            self._fail(key, PoolFull(str(key), why.needed_bytes, why.max_bytes, why.pinned_bytes))
        while self._waiters and not self._loading:
            key = next(iter(self._waiters))
            room = self._residency.make_room(key)
            if isinstance(room, NoRoom):
                return
            self._begin(key, room)

    def _give_up_unwanted(self) -> None:
        for key, futures in [*self._waiters.items()]:
            wanted = not all(future.done() for future in futures)
            if not wanted and self._residency.state(key) is State.WAITING:
                del self._waiters[key]
                self._residency.give_up(key)

    def _begin(self, key: KeyT, going: list[KeyT]) -> None:
        self._loading = True
        self._residency.begin(key, self._clock())
        self._discard(self._residency.remove(going))
        try:
            future = asyncio.get_running_loop().run_in_executor(None, self._attempt, key)
        except RuntimeError as error:  # no thread can be started
            self._loading = False
            self._fail(key, error)
        else:
            future.add_done_callback(partial(self._landed, key))

    def _attempt(self, key: KeyT) -> list[ModelT | BaseException]:
        """Load a model in a thread; the box is to be emptied, as a future may live in a cycle."""
        try:
            return [self._load(key)]
        except BaseException as error:  # noqa: BLE001 - those who wait are to hear of it
            return [error]

    def _landed(self, key: KeyT, future: asyncio.Future[list[ModelT | BaseException]]) -> None:
        self._loading = False
        outcome = asyncio.CancelledError() if future.cancelled() else future.result().pop()
        if not isinstance(outcome, BaseException):
            self._admit(key, outcome)
        elif isinstance(outcome, Exception) and not isinstance(outcome, StopIteration):
            self._fail(key, outcome)
        else:  # coroutines take these for something else than a failure
            self._fail(key, BackendFailure(f"the load ended with {outcome!r}"))
        self._advance()

    def _admit(self, key: KeyT, model: ModelT) -> None:
        """Keep a loaded model and hand it to those who wait for it, if its true size fits."""
        self._models[key] = model
        try:
            self._sizes[key] = self._size(model)
        except Exception as error:  # noqa: BLE001 - a model of unknown size cannot be kept
            self._fail(key, error)
            self._discard([key])
            return
        room = self._residency.make_room(key, self._sizes[key])
        if self._closed:
            self._discard(self._residency.remove([key]))
        elif isinstance(room, NoRoom):
            self._residency.wait(key, self._sizes[key], self._clock())
            self._discard([key])
        else:
            self._residency.finish(key, self._sizes[key], self._clock())
            for future in self._waiters.pop(key):
                if not future.done():
                    self._residency.take(key)
                    future.set_result(model)
            self._discard(self._residency.remove(room))

    def _fail(self, key: KeyT, error: Exception) -> None:
        """Remember why a model is not there, and tell all who wait for it."""
        logger.warning("model %r cannot be loaded: %s", key, repr(error))
        self._residency.fail(key, error, self._clock())
        _refuse(self._waiters.pop(key, ()), error)

    def _discard(self, keys: list[KeyT]) -> None:
        for key in keys:
            try:
                self._unload(self._models.pop(key))
            except Exception:
                logger.exception("model %r failed to unload; it counts as gone", key)


class _Use(AbstractAsyncContextManager[ModelT], Generic[KeyT, ModelT]):
    """One use of a model; entering it where the model is ready suspends nobody."""

    def __init__(self, pool: ModelPool[KeyT, ModelT], key: KeyT, deadline: float | None) -> None:
        self._pool = pool
        self._key = key
        self._deadline = deadline

    async def __aenter__(self) -> ModelT:
        pool = self._pool
        if self._key in pool._models and not pool._closed:
            pool._residency.take(self._key)
            return pool._models[self._key]
        return await pool._wait(self._key, self._deadline)

    async def __aexit__(self, *_: object) -> None:
        # By its key: while it is in use no other model can have come under it.
        self._pool._release(self._key)


def _refuse(futures: Iterable[asyncio.Future[ModelT]], error: Exception) -> None:
    """Answer callers with an error, but for those who have an answer or have gone."""
    for future in futures:
        if not future.done():
            future.set_exception(error)
