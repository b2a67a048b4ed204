"""Which models are resident and which must go: a policy of bytes, pins and last use.

Bookkeeping only: nothing here loads, unloads or waits, and times are seconds of whatever clock the
caller has. Knows models by their keys, and nothing of what a model is or of event loops.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from enum import Enum
from typing import Generic, TypeVar

from embedder.core.errors import InvalidInput

KeyT = TypeVar("KeyT", bound=Hashable)


class State(str, Enum):
    """How far a model is; one that has gone has no state."""

    WAITING = "waiting"
    """For its turn, or for room."""
    LOADING = "loading"
    READY = "ready"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class ModelState(Generic[KeyT]):
    """What an operator may know of one model at one moment.

    ``bytes`` is what it holds, or is expected to hold once it is loaded; 0 of one that has failed.
    ``idle_s`` is told of a ready model (0 while it is in use) and ``loading_s``, how long it has
    been waiting or loading by now, of one that will be. ``load_s`` is what its load took.
    """

    key: KeyT
    state: State
    bytes: int
    in_use: int
    pinned: bool
    idle_s: float | None
    loading_s: float | None
    load_s: float | None
    error: str | None


@dataclass(frozen=True, slots=True)
class NoRoom(Generic[KeyT]):
    """Why there is no room: what is in the way, and whether waiting is in vain.

    ``hopeless`` where the model does not fit beside the pinned ones alone.
    """

    pinned: tuple[KeyT, ...]
    in_use: tuple[KeyT, ...]
    loading: tuple[KeyT, ...]
    needed_bytes: int
    pinned_bytes: int
    max_bytes: int
    hopeless: bool


@dataclass(eq=False, slots=True)
class _Record:
    """One model; ``since_s`` is when it began to wait or to load, or when it was last used."""

    state: State
    bytes: int
    since_s: float
    in_use: int = 0
    pins: int = 0
    load_s: float | None = None
    error: str | None = None

    @property
    def resident(self) -> bool:
        return self.state is State.READY or self.state is State.LOADING

    @property
    def may_go(self) -> bool:
        return self.state is State.READY and not self.in_use and not self.pins


class Residency(Generic[KeyT]):
    """The models of one pool, and a byte budget for those that are loaded or being loaded.

    ``max_bytes`` of ``None`` is no bound. A model goes through `wait`, `begin` and `finish` or
    `fail`, and leaves with `remove`; the caller keeps to that order.
    """

    def __init__(self, max_bytes: int | None) -> None:
        self.max_bytes = max_bytes
        self._records: OrderedDict[KeyT, _Record] = OrderedDict()  # least recently used first

    def state(self, key: KeyT) -> State | None:
        """Return how far a model is, or ``None`` of one that is not here."""
        record = self._records.get(key)
        return None if record is None else record.state

    def wait(self, key: KeyT, expected: int, now: float) -> None:
        """Let a model wait for its load; what it failed of last time is kept until it is ready."""
        old = self._records.get(key)
        error = None if old is None else old.error
        self._records[key] = _Record(State.WAITING, expected, now, error=error)

    def give_up(self, key: KeyT) -> None:
        """Let a waiting model be what it was before: failed, or not here."""
        if self._records[key].error is None:
            del self._records[key]
        else:
            self._records[key].state = State.FAILED
            self._records[key].bytes = 0

    def begin(self, key: KeyT, now: float) -> None:
        """Reserve the expected bytes of a waiting model, whose load begins."""
        self._records[key].state = State.LOADING
        self._records[key].since_s = now

    def finish(self, key: KeyT, size: int, now: float) -> None:
        """Count a model as loaded with the bytes it really has, and as used just now."""
        load_s = now - self._records[key].since_s
        self._records[key] = _Record(State.READY, size, now, load_s=load_s)
        self._records.move_to_end(key)

    def fail(self, key: KeyT, error: Exception, now: float) -> None:
        """Remember why a model could not be loaded, in words; it holds nothing."""
        told = f"{type(error).__name__}: {error}"
        self._records[key] = _Record(State.FAILED, 0, now, error=told)

    def remove(self, keys: list[KeyT]) -> list[KeyT]:
        """Forget models that nobody uses, their pins too, and return them."""
        for key in keys:
            assert not self._records[key].in_use, f"{key!r} is in use"
            del self._records[key]
        return keys

    def clear(self) -> list[KeyT]:
        """Forget what waits or is unused, pinned or not; return what of it was ready."""
        waiting = [k for k, record in self._records.items() if record.state is State.WAITING]
        unused = [
            key
            for key, record in self._records.items()
            if record.state is State.READY and not record.in_use
        ]
        for key in (*waiting, *unused):
            del self._records[key]
        return unused

    def take(self, key: KeyT) -> None:
        """Count one more user of a ready model; every call wants a `release`."""
        self._records[key].in_use += 1

    def release(self, key: KeyT, now: float) -> bool:
        """Count one user less, and tell whether that was the last."""
        record = self._records[key]
        record.in_use -= 1
        record.since_s = now
        # The order is kept beside the times: two uses within one tick of a clock differ in it.
        self._records.move_to_end(key)
        return record.in_use == 0

    def pin(self, key: KeyT) -> None:
        """Count one more pin of a ready model; with any, it never goes to make room."""
        self._records[key].pins += 1

    def unpin(self, key: KeyT) -> None:
        """Count one pin less.

        Raises:
            InvalidInput: the model has none.
        """
        record = self._records.get(key)
        if record is None or not record.pins:
            raise InvalidInput("key", f"is {key!r}, which is not pinned")
        record.pins -= 1

    def make_room(self, key: KeyT, needed: int | None = None) -> list[KeyT] | NoRoom[KeyT]:
        """Choose what must go so that ``key`` may hold ``needed`` bytes, or what is expected of it.

        The least recently used go first, and no more of them than it takes. Where all that may go
        is not enough, nothing need go: the answer then says what is in the way.
        """
        if self.max_bytes is None:
            return []
        needed = self._records[key].bytes if needed is None else needed
        others = {k: record for k, record in self._records.items() if record.resident and k != key}
        missing = needed + sum(record.bytes for record in others.values()) - self.max_bytes
        going = []
        for other, record in others.items():
            if missing <= 0:
                break
            if record.may_go:
                going.append(other)
                missing -= record.bytes
        return going if missing <= 0 else _blocked(others, needed, self.max_bytes)

    def hopeless(self) -> list[tuple[KeyT, NoRoom[KeyT]]]:
        """Return the waiting models that do not fit beside the pinned ones, and why not."""
        waiting = [k for k, record in self._records.items() if record.state is State.WAITING]
        rooms = [(key, self.make_room(key)) for key in waiting]
        return [(key, room) for key, room in rooms if isinstance(room, NoRoom) and room.hopeless]

    def idle(self, now: float, idle_s: float) -> list[KeyT]:
        """Return what may go and has not been used for ``idle_s``, least recently used first."""
        return [
            key
            for key, record in self._records.items()
            if record.may_go and now - record.since_s >= idle_s
        ]

    def states(self, now: float) -> list[ModelState[KeyT]]:
        """Return what there is to know of every model, in no particular order."""
        return [_told(key, record, now) for key, record in self._records.items()]


def _blocked(others: dict[KeyT, _Record], needed: int, max_bytes: int) -> NoRoom[KeyT]:
    pinned = {key: record.bytes for key, record in others.items() if record.pins}
    return NoRoom(
        pinned=tuple(pinned),
        in_use=tuple(key for key in others if others[key].in_use and key not in pinned),
        loading=tuple(key for key in others if others[key].state is State.LOADING),
        needed_bytes=needed,
        pinned_bytes=sum(pinned.values()),
        max_bytes=max_bytes,
        hopeless=needed + sum(pinned.values()) > max_bytes,
    )


def _told(key: KeyT, record: _Record, now: float) -> ModelState[KeyT]:
    age_s = 0.0 if record.in_use else now - record.since_s
    return ModelState(
        key=key,
        state=record.state,
        bytes=record.bytes,
        in_use=record.in_use,
        pinned=record.pins > 0,
        idle_s=age_s if record.state is State.READY else None,
        loading_s=age_s if record.state in (State.WAITING, State.LOADING) else None,
        load_s=record.load_s,
        error=record.error,
    )
