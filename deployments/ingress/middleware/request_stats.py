"""Counters of requests in plain numbers: in progress, abandoned, answered and failed.

The label values are bounded: routes and methods as they are declared, served models, error codes.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from deployments.ingress.middleware.context import UNKNOWN_ROUTE, RequestContext
from deployments.metrics.labels import NONE, BoundedLabel
from embedder.core.types import Priority
from embedder.measurements.histogram import SECONDS, Histogram

PRIORITIES = [priority.name.lower() for priority in Priority]

FAILURES = (429, 500, 503)
"""Statuses whose series exist before the first failure, so that alerts see the first one."""

RouteOf = Callable[[str, str], tuple[str, str]]
"""Returns the declared method and path of a request, by its method and path."""

MAX_UNCOUNTED = 1000
"""Responses that are kept at most before they are counted, which takes less than 2 ms."""

Answered = tuple[tuple[str, str], int, str, Priority, float]
"""Method and path of the route, status, model, priority, and seconds until the response."""


class RequestStats:
    """Counters of one ingress replica since its start.

    ``answered`` are responses that `count` has not counted yet. The middleware appends them and
    calls it when they are `MAX_UNCOUNTED`: among other work an append takes a third of the time.
    """

    def __init__(self) -> None:
        self.in_flight = 0
        self.abandoned = 0
        self.answered: list[Answered] = []
        self._requests: Counter[tuple[str, str, int, str, str]] = Counter()
        self._seconds: defaultdict[tuple[str, str], Histogram] = defaultdict(
            partial(Histogram, SECONDS)
        )
        self._models = BoundedLabel()
        self.errors: Counter[str] = Counter()
        self._route_of: RouteOf = lambda *_: UNKNOWN_ROUTE
        self._began = time.monotonic()

    def expect(
        self, routes: Sequence[tuple[str, str, int]], codes: Sequence[str], route_of: RouteOf
    ) -> None:
        """Let series exist: of each method, path and status of a route, and of each error code."""
        self._route_of = route_of
        labels = NONE, PRIORITIES[Priority.INTERACTIVE]
        for method, path, status in routes:
            self._requests[(method, path, status, *labels)] += 0
            self._seconds[method, path]
        for status in FAILURES:
            self._requests[(*UNKNOWN_ROUTE, status, *labels)] += 0
        self.errors.update(dict.fromkeys(codes, 0))

    def failed(self, context: RequestContext, code: str) -> None:
        """Count a request that ends with an error, and find its route if it was not routed."""
        self.errors[code] += 1
        if context.route_label is UNKNOWN_ROUTE:
            context.route_label = self._route_of(context.method, context.path)

    def count(self) -> None:
        """Count the responses in ``answered``."""
        answered, self.answered = self.answered, []
        for route, status, model, priority, seconds in answered:
            self._requests[(*route, status, self._models[model], PRIORITIES[priority])] += 1
            self._seconds[route].observe(seconds)

    @property
    def requests(self) -> Counter[tuple[str, str, int, str, str]]:
        """Return the responses by method, path of the route, status, model and priority."""
        self.count()
        return self._requests

    @property
    def seconds(self) -> Mapping[tuple[str, str], Histogram]:
        """Return the durations by method and path of the route."""
        self.count()
        return self._seconds

    @property
    def answers(self) -> Counter[int]:
        """Return the number of responses by status."""
        by_status: Counter[int] = Counter()
        for (_, _, status, _, _), count in self.requests.items():
            by_status[status] += count
        return +by_status

    @property
    def uptime_s(self) -> float:
        """Return the seconds since the start."""
        return time.monotonic() - self._began
