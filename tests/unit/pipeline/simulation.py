"""A service under load in simulated time: clients, ingresses, and devices.

Events happen in the order of their time and nothing sleeps, so half a minute takes a second.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import count

import numpy as np

from embedder.core.errors import Overloaded
from embedder.core.types import Priority, Timings
from embedder.pipeline.admission_control import AdmissionControl
from embedder.pipeline.reservations import next_message_s
from embedder.settings.model import LimitSettings
from tests.unit.pipeline.simulated_stages import Device, Ingress, Request

PATH_S = 0.003
"""Seconds from an ingress to a device and back, and from an ingress to another."""


@dataclass
class Simulation:
    """``rate`` is the tokens per second of one device with full batches.

    Each try of a request goes to the ingress that ``choose`` returns, by default to one with the
    fewest open requests, as a load balancer sends it. Without ``exchange`` the ingresses do not
    hear of each other's reservations.
    """

    rate: float = 10_000.0
    device_count: int = 1
    ingress_count: int = 1
    limits: LimitSettings = field(default_factory=LimitSettings)
    seed: int = 0
    retry_after: Callable[[Request, Overloaded], float | None] = lambda _, error: error.whole_s
    choose: Callable[[Request], Ingress] | None = None
    exchange: bool = True

    def __post_init__(self) -> None:
        self.now = 0.0
        self.random = random.Random(self.seed)
        self._balancing = random.Random(self.seed)
        self.requests: list[Request] = []
        self.computed: list[tuple[float, int]] = []
        self.refusals: list[float] = []
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()
        self._telling: set[Ingress] = set()
        self.devices: list[Device] = []
        self.all: list[Ingress] = []
        self._set_devices(self.device_count)
        self._set_ingresses(self.ingress_count)

    @property
    def admission(self) -> AdmissionControl:
        """Return the admission control of the only ingress."""
        (ingress,) = self.all
        return ingress.admission

    def at(self, when: float, what: Callable[[], None]) -> None:
        """Schedule an event."""
        heapq.heappush(self._events, (when, next(self._order), what))

    def load(self, share: float, begin: float, end: float) -> None:
        """Schedule random arrivals of ``share`` times the capacity of the devices."""
        mean = self.rate * len(self.devices) * share / MEAN_TOKENS
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
        return done / (self.rate * len(self.devices) * (end - begin))

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

    def balanced(self, ingresses: Sequence[Ingress]) -> Ingress:
        """Return one with the fewest open requests."""
        fewest = min(ingress.open for ingress in ingresses)
        return self._balancing.choice([one for one in ingresses if one.open == fewest])

    def send_to(self, ingress: Ingress) -> None:
        """Send all requests from now on to one ingress."""
        self.choose = lambda _: ingress

    def devices_at(self, when: float, count: int) -> None:
        """Schedule a change of the number of devices; a removed one completes its calls."""
        self.at(when, lambda: self._set_devices(count))

    def ingresses_at(self, when: float, count: int) -> None:
        """Schedule the start of further ingresses, which have measured nothing."""
        self.at(when, lambda: self._set_ingresses(count))

    def _set_devices(self, count: int) -> None:
        started = [Device(f"device {next(self._order)}", lambda: self.now) for _ in range(count)]
        self.devices = [*self.devices, *started][:count]

    def _set_ingresses(self, count: int) -> None:
        while len(self.all) < count:
            started = Ingress(AdmissionControl(self.limits, clock=lambda: self.now))
            if self.all:
                started.admission.receive(self.all[0].admission.all_reservations())
            self.all.append(started)
        for ingress in self.all:
            ingress.admission.share(count, partial(self._changed, ingress))

    def _changed(self, ingress: Ingress) -> None:
        """Send the changes of reservations to the other ingresses as the service does."""
        if ingress not in self._telling:
            self._telling.add(ingress)
            pause_s = next_message_s(len(self.all))
            self.at(self.now + pause_s, partial(self._tell, ingress, pause_s))

    def _tell(self, ingress: Ingress, pause_s: float) -> None:
        changes = ingress.admission.take_changes()
        if not changes:
            self._telling.remove(ingress)
            return
        for other in self.all:
            if other is not ingress and self.exchange:
                self.at(self.now + PATH_S, partial(other.admission.receive, changes))
        pause_s = next_message_s(len(self.all), pause_s)
        self.at(self.now + pause_s, partial(self._tell, ingress, pause_s))

    def _ask(self, request: Request) -> None:
        request.tries += 1
        ingress = self.balanced(self.all) if self.choose is None else self.choose(request)
        try:
            keys = [request.number.to_bytes(32, "big")] * request.inputs
            request.work = ingress.admission.admit(keys, request.tokens, request.priority)
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
        ingress.open += 1
        ingress.add(request)
        self.at(self.now + PATH_S, partial(self._send, ingress))

    def _send(self, ingress: Ingress) -> None:
        """Send calls while the ingress has fewer than one for each device."""
        while ingress.waits and ingress.calls < len(self.devices):
            device = min(self.devices, key=lambda one: one.tokens)
            device.waiting.append((ingress, ingress.next_call()))
            ingress.calls += 1
            if not device.batch:
                self._start(device)

    def _start(self, device: Device) -> None:
        seconds = device.start(self.rate)
        for _, parts in device.batch:
            for request, _ in parts:
                request.wait_s = self.now - request.came_s
        self.at(self.now + seconds, partial(self._end, device, seconds))

    def _end(self, device: Device, seconds: float) -> None:
        ended = device.end()
        if device.waiting:
            self._start(device)
        for ingress, parts in ended:
            ingress.calls -= 1
            ingress.admission.answered(device.load)
            for request, tokens in parts:
                self._computed(ingress, request, tokens, seconds)
        for ingress, _ in ended:
            self._send(ingress)

    def _computed(self, ingress: Ingress, request: Request, tokens: int, seconds: float) -> None:
        self.computed.append((self.now, tokens))
        request.left -= tokens
        assert request.work is not None
        times = Timings(queue_s=self.now - seconds - request.came_s, inference_s=seconds)
        request.work.computed(tokens, times)
        if request.left == 0:
            ingress.open -= 1
            request.work.end()
            request.ended_s = self.now
            request.done()


LOGNORMAL = (4.0, 0.8)
MEAN_TOKENS = 74.0
