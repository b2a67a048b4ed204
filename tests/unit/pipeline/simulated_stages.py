"""The ingresses and devices of a simulation, and the requests that go through them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from embedder.batching.work_meter import WorkMeter
from embedder.core.types import Priority, ReplicaLoad
from embedder.pipeline.admission_control import AdmissionControl, AdmittedTokens

BATCH_TOKENS = 2048
OVERHEAD_S = 0.005
"""Fixed seconds of a batch."""

PART_TOKENS = 256
"""The most tokens of one input."""


@dataclass(eq=False)
class Request:
    """One request and its outcome."""

    number: int
    tokens: int
    priority: Priority = Priority.INTERACTIVE
    inputs: int = 1
    tries: int = 0
    came_s: float = 0.0
    wait_s: float = 0.0
    left: int = 0
    work: AdmittedTokens | None = None
    admitted_at: int | None = None
    ended_s: float | None = None
    done: Callable[[], None] = lambda: None


Part = tuple[Request, int]
"""Some tokens of a request."""


def tokens_of(parts: list[Part]) -> int:
    """Return the tokens of some parts."""
    return sum(tokens for _, tokens in parts)


class Ingress:
    """An ingress: its admission control, and the work that waits in it.

    ``open`` counts its admitted requests, ``calls`` its calls to devices.
    """

    def __init__(self, admission: AdmissionControl) -> None:
        self.admission = admission
        self.open = 0
        self.calls = 0
        self._lanes: dict[Priority, deque[Part]] = {one: deque() for one in Priority}

    @property
    def waits(self) -> bool:
        """Return whether work waits for a call."""
        return any(self._lanes.values())

    def add(self, request: Request) -> None:
        """Queue the tokens of an admitted request."""
        left = request.tokens
        while left > 0:
            part = min(left, PART_TOKENS)
            self._lanes[request.priority].append((request, part))
            left -= part

    def next_call(self) -> list[Part]:
        """Remove and return the parts of the next call."""
        parts: list[Part] = []
        room = BATCH_TOKENS
        for lane in self._lanes.values():
            while lane and lane[0][1] <= room:
                parts.append(lane.popleft())
                room -= parts[-1][1]
        return parts


@dataclass(eq=False)
class Device:
    """One device: the calls that wait for it, and those that form its batch."""

    name: str
    clock: Callable[[], float]
    waiting: deque[tuple[Ingress, list[Part]]] = field(default_factory=deque)
    batch: list[tuple[Ingress, list[Part]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._meter = WorkMeter(self.clock)
        self._computing = self._meter.computed(0)

    @property
    def tokens(self) -> int:
        """Return the tokens that wait or are computed."""
        return sum(tokens_of(parts) for _, parts in (*self.waiting, *self.batch))

    @property
    def load(self) -> ReplicaLoad:
        """Return the report that goes with an answer."""
        return ReplicaLoad(self.name, self.tokens, self._meter.tokens_per_s)

    def start(self, rate: float) -> float:
        """Form a batch of whole calls in their order; return how many seconds it takes."""
        room = BATCH_TOKENS
        while self.waiting and tokens_of(self.waiting[0][1]) <= room:
            self.batch.append(self.waiting.popleft())
            room -= tokens_of(self.batch[-1][1])
        tokens = BATCH_TOKENS - room
        self._computing = self._meter.computed(tokens)
        self._computing.__enter__()
        return OVERHEAD_S + tokens * (1 / rate - OVERHEAD_S / BATCH_TOKENS)

    def end(self) -> list[tuple[Ingress, list[Part]]]:
        """Return the calls of the batch, which is computed."""
        self._computing.__exit__(None, None, None)
        ended, self.batch = self.batch, []
        return ended
