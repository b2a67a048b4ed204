"""The clients: an open loop of Poisson arrivals, which return after ``Retry-After``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.simulation.events import Events
from benchmarks.simulation.ingress import Ingress
from benchmarks.simulation.requests import Group, Outcome, Requests
from embedder.core.errors import Overloaded

EPOCH_S = 0.05
"""Seconds whose arrivals are drawn together."""


@dataclass(frozen=True, slots=True)
class Load:
    """Requests a second as (from second, rate) in order of time, until ``seconds``."""

    steps: tuple[tuple[float, float], ...]
    seconds: float

    @classmethod
    def constant(cls, rate_per_s: float, seconds: float) -> Load:
        """Return one rate for the whole time."""
        return cls(((0.0, rate_per_s),), seconds)

    @classmethod
    def step(cls, rate_per_s: float, factor: float, phase_s: float) -> Load:
        """Return a rate, ``factor`` times of it, and the rate again, each for ``phase_s``."""
        rates = (rate_per_s, factor * rate_per_s, rate_per_s)
        return cls(tuple((i * phase_s, rate) for i, rate in enumerate(rates)), 3 * phase_s)

    def rate(self, now: float) -> float:
        """Return the requests per second at a time."""
        return [rate for since, rate in self.steps if since <= now][-1]


@dataclass(frozen=True, slots=True)
class ClientSettings:
    """How clients send: requests of one text, whose tokens are drawn from ``tokens``.

    A refused request is sent again at most ``returns`` times, exactly after its
    ``Retry-After``: at the ingress that refused it if ``same_ingress``, otherwise at any.
    """

    load: Load
    tokens: NDArray[np.int64]
    returns: int = 1
    same_ingress: bool = False


class Clients:
    """Sends the requests of a load to the ingresses that run, each to any of them."""

    def __init__(
        self,
        settings: ClientSettings,
        events: Events,
        ingresses: Callable[[], Sequence[Ingress]],
        seed: int,
    ) -> None:
        self.requests: list[Requests] = []
        self.refusals: list[tuple[float, int]] = []
        self._settings = settings
        self._events = events
        self._ingresses = ingresses
        self._random = np.random.default_rng(seed)
        self._origin: dict[int, Ingress] = {}
        events.at(0.0, self._send)

    def refused(self, group: Group, error: Overloaded, ingress: Ingress) -> None:
        """Send a refused group again when it may return, or give up."""
        now = self._events.now
        self.refusals.append((now, len(group)))
        if group.requests.attempts[group.first] > self._settings.returns:
            group.finish(Outcome.REFUSED, now)
        else:
            self._events.at(now + error.whole_s, self._return, (group, ingress))

    def _return(self, returning: tuple[Group, Ingress]) -> None:
        group, ingress = returning
        ingresses = self._ingresses()
        if not self._settings.same_ingress or ingress not in ingresses:
            ingress = ingresses[int(self._random.integers(len(ingresses)))]
        group.resend(self._events.now)
        ingress.receive(group)

    def _send(self, _: object) -> None:
        """Draw the arrivals of the next epoch."""
        now, settings = self._events.now, self._settings
        until = min(now + EPOCH_S, settings.load.seconds)
        ingresses = self._ingresses()
        mean = settings.load.rate(now) * (until - now) / len(ingresses)
        counts = self._random.poisson(mean, len(ingresses))
        total = int(counts.sum())
        owners = np.repeat(np.arange(len(ingresses)), counts)
        # One sort for all ingresses: by owner, then by time.
        sent_s = now + (until - now) * (np.sort(owners + self._random.random(total)) - owners)
        drawn = self._random.integers(len(settings.tokens), size=total)
        requests = Requests(sent_s, settings.tokens[drawn])
        self.requests.append(requests)
        ends = np.cumsum(counts).tolist()
        for ingress, first, end in zip(ingresses, [0, *ends], ends, strict=False):
            ingress.offer(requests, first, end)
        if until < settings.load.seconds:
            self._events.at(until, self._send)
