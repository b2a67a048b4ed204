"""Decide which models of a pool stay loaded, by bytes, pins and last use.

This is bookkeeping only: nothing here loads, unloads or waits. Times are seconds of the caller's
clock.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from enum import Enum
from typing import Generic, TypeVar

from embedder.core.errors import InvalidInput

KeyT = TypeVar("KeyT", bound=Hashable)


class LoadState(str, Enum):
    """The state of a model in a pool; an unloaded model has none."""

    WAITING = "waiting"
    """Until other loads have finished, or until there is room."""
    LOADING = "loading"
    READY = "ready"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class ModelState(Generic[KeyT]):
    """A snapshot of one model.

    ``bytes`` is its size, or the expected size before it is loaded; 0 if the load failed.
    ``idle_s`` is set for a ready model (0 while it is in use). ``loading_s`` is the time that it
    has been waiting or loading. ``load_s`` is the duration of its load.
    """

    key: KeyT
    state: LoadState
    bytes: int
    in_use: int
    pinned: bool
    idle_s: float | None
    loading_s: float | None
    load_s: float | None
    error: str | None


@dataclass(frozen=True, slots=True)
class NoRoom:
    """Why another model does not fit: the bytes that it needs, and those of pinned models."""

    needed_bytes: int
    pinned_bytes: int
    max_bytes: int

    @property
    def permanent(self) -> bool:
        """Tell whether the model does not fit beside the pinned models alone."""
        return self.needed_bytes + self.pinned_bytes > self.max_bytes


@dataclass(eq=False, slots=True)
class _Record:
    """One model; ``since_s`` is the time of its last use, or when it began to wait or to load."""

    state: LoadState
    bytes: int
    since_s: float
    in_use: int = 0
    pins: int = 0
    load_s: float | None = None
    error: str | None = None

    @property
    def resident(self) -> bool:
        return self.state is LoadState.READY or self.state is LoadState.LOADING

    @property
    def evictable(self) -> bool:
        return self.state is LoadState.READY and not self.in_use and not self.pins


class Residency(Generic[KeyT]):
    """The models of one pool, with a byte budget for those that are loaded or loading.

    ``max_bytes=None`` means no limit. The caller must keep the order `enqueue`, `start_loading`,
    `finish_loading` or `fail`, and `remove`.
    """

    def __init__(self, max_bytes: int | None) -> None:
        self.max_bytes = max_bytes
        self._records: OrderedDict[KeyT, _Record] = OrderedDict()  # least recently used first

    def state(self, key: KeyT) -> LoadState | None:
        """Return the state of a model, or None if it is unknown."""
        record = self._records.get(key)
        return None if record is None else record.state

    def enqueue(self, key: KeyT, expected: int, now: float) -> None:
        """Let a model wait for its load; an earlier error is kept until it is ready."""
        earlier = self._records.get(key)
        error = None if earlier is None else earlier.error
        self._records[key] = _Record(LoadState.WAITING, expected, now, error=error)

    def cancel(self, key: KeyT) -> None:
        """Return a waiting model to its earlier state: failed or unknown."""
        if self._records[key].error is None:
            del self._records[key]
        else:
            self._records[key].state = LoadState.FAILED
            self._records[key].bytes = 0

    def start_loading(self, key: KeyT, now: float) -> None:
        """Reserve the expected bytes of a waiting model that starts to load."""
        self._records[key].state = LoadState.LOADING
        self._records[key].since_s = now

    def finish_loading(self, key: KeyT, size: int, now: float) -> None:
        """Record a model as ready with its true size, and as just used."""
        load_s = now - self._records[key].since_s
        self._records[key] = _Record(LoadState.READY, size, now, load_s=load_s)
        self._records.move_to_end(key)

    def fail(self, key: KeyT, error: Exception, now: float) -> None:
        """Record the message of the error that a load ended with."""
        message = f"{type(error).__name__}: {error}"
        self._records[key] = _Record(LoadState.FAILED, 0, now, error=message)

    def remove(self, keys: list[KeyT]) -> list[KeyT]:
        """Forget unused models and their pins, and return the keys."""
        for key in keys:
            assert not self._records[key].in_use, f"{key!r} is in use"
            del self._records[key]
        return keys

    def acquire(self, key: KeyT) -> None:
        """Count one more use of a ready model; each call needs a `release`."""
        self._records[key].in_use += 1

    def release(self, key: KeyT, now: float) -> bool:
        """Count one use less, and return whether that was the last."""
        record = self._records[key]
        record.in_use -= 1
        record.since_s = now
        # The order is kept separately: two uses may fall into one tick of the clock.
        self._records.move_to_end(key)
        return record.in_use == 0

    def pin(self, key: KeyT) -> None:
        """Count one more pin of a ready model; a pinned model is never evicted."""
        self._records[key].pins += 1

    def unpin(self, key: KeyT) -> None:
        """Count one pin less.

        Raises:
            InvalidInput: the model has no pin.
        """
        record = self._records.get(key)
        if record is None or not record.pins:
            raise InvalidInput("key", f"is {key!r}, which is not pinned")
        record.pins -= 1

    def choose_evictions(self, key: KeyT, needed: int | None = None) -> list[KeyT] | NoRoom:
        """Return the models to evict so that ``key`` can hold ``needed`` bytes.

        ``needed=None`` means the expected size. The least recently used are evicted first, and no
        more than necessary. If all evictable models are not enough, return the reason.
        """
        if self.max_bytes is None:
            return []
        needed = self._records[key].bytes if needed is None else needed
        others = {k: record for k, record in self._records.items() if record.resident and k != key}
        missing = needed + sum(record.bytes for record in others.values()) - self.max_bytes
        evicted = []
        for other, record in others.items():
            if missing <= 0:
                break
            if record.evictable:
                evicted.append(other)
                missing -= record.bytes
        if missing <= 0:
            return evicted
        pinned = sum(record.bytes for record in others.values() if record.pins)
        return NoRoom(needed, pinned, self.max_bytes)

    def impossible(self) -> list[tuple[KeyT, NoRoom]]:
        """Return the waiting models that do not fit beside the pinned ones, with the reason."""
        waiting = [k for k, record in self._records.items() if record.state is LoadState.WAITING]
        results = [(key, self.choose_evictions(key)) for key in waiting]
        return [(key, why) for key, why in results if isinstance(why, NoRoom) and why.permanent]

    def idle_keys(self, now: float, idle_s: float) -> list[KeyT]:
        """Return the evictable models not used for ``idle_s``, least recently used first."""
        return [
            key
            for key, record in self._records.items()
            if record.evictable and now - record.since_s >= idle_s
        ]

    def states(self, now: float) -> list[ModelState[KeyT]]:
        """Return a snapshot of every model, in no particular order."""
        return [_snapshot(key, record, now) for key, record in self._records.items()]


def _snapshot(key: KeyT, record: _Record, now: float) -> ModelState[KeyT]:
    age_s = 0.0 if record.in_use else now - record.since_s
    return ModelState(
        key=key,
        state=record.state,
        bytes=record.bytes,
        in_use=record.in_use,
        pinned=record.pins > 0,
        idle_s=age_s if record.state is LoadState.READY else None,
        loading_s=age_s if record.state in (LoadState.WAITING, LoadState.LOADING) else None,
        load_s=record.load_s,
        error=record.error,
    )
