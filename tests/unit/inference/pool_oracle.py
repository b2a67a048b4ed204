"""A simple model of a pool: dictionaries and lists, without an event loop."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from embedder.inference.residency import LoadState

Snapshot = tuple[LoadState, int, int, bool, float | None]


@dataclass
class Oracle:
    """The expected state of a pool when no callback is pending."""

    budget: int
    sizes: dict[str, int]
    expected: dict[str, int]
    now: int = 0
    loading: str | None = None
    ready: dict[str, int] = field(default_factory=dict)  # key to last use, least recent first
    pins: Counter[str] = field(default_factory=Counter)
    using: Counter[str] = field(default_factory=Counter)
    queue: list[str] = field(default_factory=list)
    failed: set[str] = field(default_factory=set)
    log: list[str] = field(default_factory=list)
    status: list[str] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    deadlines: list[float] = field(default_factory=list)

    def waiting(self, key: str) -> list[int]:
        return [n for n, at in enumerate(self.status) if at == "waiting" and self.keys[n] == key]

    def held(self, names: list[str]) -> int:
        return sum(self.sizes[key] for key in names)

    def evict(self, key: str) -> None:
        del self.ready[key]
        self.log.append(f"unload {key}")

    def touch(self, key: str) -> None:
        self.ready.pop(key, None)
        self.ready[key] = self.now

    def evictable(self) -> list[str]:
        return [key for key in self.ready if not self.pins[key] and not self.using[key]]

    def start_use(self, key: str, wait_s: float) -> None:
        self.keys.append(key)
        self.deadlines.append(self.now + wait_s)
        self.status.append("using" if key in self.ready else "waiting")
        if key in self.ready:
            self.using[key] += 1
        elif key != self.loading and key not in self.queue:
            self.queue.append(key)

    def end_use(self, number: int, status: str) -> None:
        if self.status[number] == "using":
            self.using[self.keys[number]] -= 1
            self.touch(self.keys[number])
        self.status[number] = status

    def fail(self, key: str, status: str) -> None:
        for number in self.waiting(key):
            self.status[number] = status
        self.failed.add(key)

    def finish(self, broken: bool) -> None:
        key, self.loading = self.loading, None
        assert key is not None
        if broken:
            self.fail(key, "OSError")
            return
        self.log.append(f"load {key}")
        self.expected[key] = self.sizes[key]
        if self.held([key, *self.ready]) - self.held(self.evictable()) > self.budget:
            self.log.append(f"unload {key}")
            self.queue.insert(0, key)
            return
        self.make_room(self.sizes[key])
        self.touch(key)
        self.failed.discard(key)
        for number in self.waiting(key):
            self.status[number] = "using"
            self.using[key] += 1

    def make_room(self, needed: int) -> None:
        for key in self.evictable():
            if self.held([*self.ready]) + needed > self.budget:
                self.evict(key)

    def advance(self) -> None:
        """Drop, refuse and start loads as the pool must do by itself."""
        self.queue = [key for key in self.queue if self.waiting(key)]
        for key in [*self.queue]:
            pinned = [other for other in self.ready if self.pins[other]]
            if self.expected[key] + self.held(pinned) > self.budget:
                self.fail(key, "PoolFull")
                self.queue.remove(key)
        if self.loading is None and self.queue:
            needed = self.expected[self.queue[0]]
            stuck = [key for key in self.ready if key not in self.evictable()]
            if needed + self.held(stuck) <= self.budget:
                self.loading = self.queue.pop(0)
                self.make_room(needed)

    def states(self) -> dict[str, Snapshot]:
        snapshots: dict[str, Snapshot] = {
            key: (LoadState.FAILED, 0, 0, False, None) for key in self.failed
        }
        for key in self.queue:
            snapshots[key] = (LoadState.WAITING, self.expected[key], 0, False, None)
        if self.loading is not None:
            snapshots[self.loading] = (
                LoadState.LOADING,
                self.expected[self.loading],
                0,
                False,
                None,
            )
        for key, used in self.ready.items():
            idle = 0 if self.using[key] else self.now - used
            snapshots[key] = (
                LoadState.READY,
                self.sizes[key],
                self.using[key],
                self.pins[key] > 0,
                idle,
            )
        return snapshots
