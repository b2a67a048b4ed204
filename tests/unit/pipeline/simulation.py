"""A service under load in simulated time: clients, admission control, and devices.

Events happen in the order of their time and nothing sleeps, so half a minute takes a second.
"""

from __future__ import annotations

import heapq
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from itertools import count

import numpy as np

from embedder.core.errors import Overloaded
from embedder.core.types import Priority, Timings
from embedder.pipeline.admission_control import AdmissionControl, AdmittedTokens
from embedder.settings.model import LimitSettings

BATCH_TOKENS = 2048
OVERHEAD_S = 0.005
"""Fixed seconds of a batch."""

PATH_S = 0.003
"""Seconds from the ingress to the device and back."""


@dataclass
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


@dataclass
class Simulation:
    """``rate`` is the tokens per second of one device with full batches."""

    rate: float = 10_000.0
    devices: int = 1
    limits: LimitSettings = field(default_factory=LimitSettings)
    seed: int = 0
    retry_after: Callable[[Request, Overloaded], float | None] = lambda _, error: error.whole_s

    def __post_init__(self) -> None:
        self.now = 0.0
        self.random = random.Random(self.seed)
        self.admission = AdmissionControl(self.limits, clock=lambda: self.now)
        self.requests: list[Request] = []
        self.computed: list[tuple[float, int]] = []
        self.refusals: list[float] = []
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()
        self._lanes: dict[Priority, deque[tuple[Request, int]]] = {one: deque() for one in Priority}
        self._free = self.devices

    def at(self, when: float, what: Callable[[], None]) -> None:
        """Schedule an event."""
        heapq.heappush(self._events, (when, next(self._order), what))

    def load(self, share: float, begin: float, end: float) -> None:
        """Schedule random arrivals of ``share`` times the capacity of the devices."""
        mean = self.rate * self.devices * share / MEAN_TOKENS
        when = begin
        while (when := when + self.random.expovariate(mean)) < end:
            tokens = min(512, max(8, int(self.random.lognormvariate(*LOGNORMAL))))
            self.arrive(when, tokens)

    def arrive(
        self,
        when: float,
        tokens: int,
        priority: Priority = Priority.INTERACTIVE,
        *,
        inputs: int = 1,
    ) -> Request:
        """Schedule the arrival of one request."""
        request = Request(len(self.requests), tokens, priority, inputs)
        self.requests.append(request)
        self.at(when, lambda: self._ask(request))
        return request

    def call(self, calls: int, concurrency: int, tokens: int, *, inputs: int) -> list[Request]:
        """Schedule ``calls`` calls by ``concurrency`` clients, each after the end of the last."""
        made: list[Request] = []

        def next_call() -> None:
            if len(made) < calls:
                made.append(self.arrive(self.now, tokens, inputs=inputs))
                made[-1].done = next_call

        for _ in range(concurrency):
            next_call()
        return made

    def run(self, until: float) -> None:
        """Run all events until a time."""
        while self._events and self._events[0][0] <= until:
            self.now, _, what = heapq.heappop(self._events)
            what()
        self.now = until

    def goodput(self, begin: float, end: float) -> float:
        """Return the share of the capacity of the devices that was used."""
        done = sum(tokens for when, tokens in self.computed if begin < when <= end)
        return done / (self.rate * self.devices * (end - begin))

    def wait_s(self, quantile: float, begin: float = 0.0, end: float = 1e9) -> float:
        """Return a quantile of the waits of admitted requests."""
        waits = [
            one.wait_s
            for one in self.requests
            if one.admitted_at is not None
            and one.left == 0
            and begin <= one.came_s < end
            and one.priority is Priority.INTERACTIVE
        ]
        return float(np.quantile(waits, quantile)) if waits else 0.0

    def returns(self) -> tuple[int, int]:
        """Return how many requests returned, and how many of those were admitted then."""
        returned = [one for one in self.requests if one.tries > 1]
        return len(returned), sum(one.admitted_at == 2 for one in returned)

    def _ask(self, request: Request) -> None:
        request.tries += 1
        try:
            keys = [request.number.to_bytes(32, "big")] * request.inputs
            request.work = self.admission.admit(keys, request.tokens, request.priority)
        except Overloaded as error:
            self.refusals.append(error.retry_after_s)
            retry_s = self.retry_after(request, error)
            if retry_s is not None:
                latency = self.random.uniform(0.001, 0.03)
                self.at(self.now + retry_s + latency, lambda: self._ask(request))
            else:
                request.done()
            return
        request.admitted_at, request.came_s, request.left = request.tries, self.now, request.tokens
        left = request.tokens
        while left > 0:
            part = min(left, 256)
            self._lanes[request.priority].append((request, part))
            left -= part
        self.at(self.now + PATH_S, self._start)

    def _start(self) -> None:
        while self._free and any(self._lanes.values()):
            batch, room = [], BATCH_TOKENS
            for lane in self._lanes.values():
                while lane and lane[0][1] <= room:
                    batch.append(lane.popleft())
                    room -= batch[-1][1]
            self._free -= 1
            seconds = OVERHEAD_S + (BATCH_TOKENS - room) * (
                1 / self.rate - OVERHEAD_S / BATCH_TOKENS
            )
            for request, _ in batch:
                request.wait_s = self.now - request.came_s
            self.at(self.now + seconds, partial(self._end, batch, seconds))

    def _end(self, batch: list[tuple[Request, int]], seconds: float) -> None:
        self._free += 1
        for request, tokens in batch:
            self.computed.append((self.now, tokens))
            request.left -= tokens
            assert request.work is not None
            times = Timings(queue_s=self.now - seconds - request.came_s, inference_s=seconds)
            request.work.computed(tokens, times)
            if request.left == 0:
                request.work.end()
                request.ended_s = self.now
                request.done()
        self._start()


LOGNORMAL = (4.0, 0.8)
MEAN_TOKENS = 74.0
