"""The replicas of one deployment: which run, which start, and which were stopped."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from benchmarks.simulation.events import Events

ReplicaT = TypeVar("ReplicaT")


class ReplicaSet(Generic[ReplicaT]):
    """Starts and stops replicas.

    A new replica runs after ``start_s``. A stopped one gets no more work and ends what it has.
    ``history`` has (seconds, running, target) at each change, and ``changed`` is called then.
    """

    def __init__(
        self,
        name: str,
        create: Callable[[str], ReplicaT],
        start_s: float,
        events: Events,
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        self.name = name
        self.running: list[ReplicaT] = []
        self.stopped: list[ReplicaT] = []
        self.target = 0
        self.history: list[tuple[float, int, int]] = []
        self._changed = changed
        self._create = create
        self._start_s = start_s
        self._events = events
        self._starting: list[object] = []
        self._created = 0

    @property
    def all(self) -> list[ReplicaT]:
        """Return all replicas that ever ran."""
        return self.stopped + self.running

    def scale(self, target: int, *, at_once: bool = False) -> None:
        """Start or stop replicas; ``at_once`` they need no time to start."""
        self.target = target
        missing = target - len(self.running) - len(self._starting)
        for _ in range(missing):
            start = object()
            self._starting.append(start)
            if at_once:
                self._started(start)
            else:
                self._events.at(self._events.now + self._start_s, self._started, start)
        for _ in range(-missing):
            if self._starting:
                self._starting.pop()
            else:
                self.stopped.append(self.running.pop())
        self._record()

    def _started(self, start: object) -> None:
        if start in self._starting:  # not stopped meanwhile
            self._starting.remove(start)
            self._created += 1
            self.running.append(self._create(f"{self.name}#{self._created}"))
            self._record()

    def _record(self) -> None:
        self.history.append((self._events.now, len(self.running), self.target))
        self._changed()
