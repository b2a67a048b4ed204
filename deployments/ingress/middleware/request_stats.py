"""Counters of requests in plain numbers: in progress, abandoned, answered and failed.

The label values are bounded: routes and methods as they are declared, served models, error codes.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from functools import partial

from deployments.ingress.middleware.context import UNKNOWN_ROUTE, RequestContext
from deployments.metrics.labels import NONE
from embedder.core.types import Priority
from embedder.measurements.histogram import SECONDS, Histogram

PRIORITIES = [priority.name.lower() for priority in Priority]

FAILURES = (429, 500, 503)
"""Statuses whose series exist before the first failure, so that alerts see the first one."""

RouteOf = Callable[[str, str], tuple[str, str]]
"""Returns the declared method and path of a request, by its method and path."""


class RequestStats:
    """Counters of one ingress replica since its start.

    ``requests`` counts by method, path of the route, status, model and priority; ``seconds`` has a
    histogram for each method and path.
    """

    def __init__(self) -> None:
        self.in_flight = 0
        self.abandoned = 0
        self.requests: Counter[tuple[str, str, int, str, str]] = Counter()
        self.seconds: defaultdict[tuple[str, str], Histogram] = defaultdict(
            partial(Histogram, SECONDS)
        )
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
            self.requests[(method, path, status, *labels)] += 0
            self.seconds[method, path]
        for status in FAILURES:
            self.requests[(*UNKNOWN_ROUTE, status, *labels)] += 0
        self.errors.update(dict.fromkeys(codes, 0))

    def failed(self, context: RequestContext, code: str) -> None:
        """Count a request that ends with an error, and find its route if it was not routed."""
        self.errors[code] += 1
        if context.route_label is UNKNOWN_ROUTE:
            context.route_label = self._route_of(context.method, context.path)

    def answered(self, context: RequestContext, status: int, seconds: float) -> None:
        """Count a response that starts ``seconds`` after its request."""
        route, priority = context.route_label, PRIORITIES[context.priority]
        self.requests[(*route, status, context.served_model, priority)] += 1
        self.seconds[route].observe(seconds)

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
