"""What metrics cost a cached request, and what a publication costs a replica.

``python -m benchmarks.metrics_cost`` answers requests for one cached text in this process, through
the application of an ingress without a server: with metrics, and without counting what only metrics
need. A pair of runs takes turns of a few requests, because the speed of a shared machine drifts. It
prints the CPU time of the event loop's thread. Ray's instruments are real, but export nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

from starlette.types import ASGIApp

from benchmarks.asgi_client import post
from benchmarks.walks import local_service
from deployments.ingress.asgi import build_asgi
from deployments.ingress.service.service import Service

BODY = b'{"input": "the same text"}'
PUBLISHED_S = 5.0
"""Seconds between two health checks of Serve, each of which publishes the metrics."""

TURN = 20
"""Requests of one kind before the next turn."""

PUBLICATIONS = 20
GOAL = 1.02


def main() -> None:
    """Measure, and print the ratio with its noise."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=20)
    parser.add_argument("--requests", type=int, default=1000, help="in a run")
    options = parser.parse_args()
    asyncio.run(_measure(options.pairs, options.requests))
    sys.stdout.flush()
    os._exit(0)  # without waiting for the threads of the replicas


async def _measure(pairs: int, requests: int) -> None:
    service = await local_service("colocated")
    app = build_asgi(service)
    await _run(app, requests)  # loads the model, fills the cache and warms up
    counted, bare, ratios = list[float](), list[float](), list[float]()
    for _ in range(pairs):
        with_s = without_s = 0.0
        for turn in range(requests // TURN):
            for with_metrics in (True, False) if turn % 2 else (False, True):
                if with_metrics:
                    with_s += await _run(app, TURN)
                else:
                    with _uncounted(service):
                        without_s += await _run(app, TURN)
        counted.append(with_s / requests)
        bare.append(without_s / requests)
        ratios.append(with_s / without_s)
    low, _, high = statistics.quantiles(ratios, n=4)
    ratio = statistics.median(ratios)
    print(
        f"CPU of a cached request: {statistics.median(counted) * 1e6:.1f} us with metrics, ", end=""
    )
    print(f"{statistics.median(bare) * 1e6:.1f} us without; load {os.getloadavg()[0]:.1f}")
    print(f"ratio {ratio:.4f}, quartiles {low:.4f} to {high:.4f}, goal {GOAL}")
    seconds = _publication_s(service)
    print(f"a publication takes {seconds * 1e3:.1f} ms: {seconds / PUBLISHED_S:.3%} of a core")


async def _run(app: ASGIApp, requests: int) -> float:
    """Return the CPU seconds of these requests in this thread."""
    began = time.thread_time()
    for _ in range(requests):
        await post(app, "/v1/embeddings", BODY)
    return time.thread_time() - began


@contextmanager
def _uncounted(service: Service) -> Iterator[None]:
    """Leave out the counters that only metrics need; two additions and a variable remain."""
    with (
        patch.object(service.request_stats, "answered", _nothing),
        patch.object(service.token_usage, "begin", _nothing),
        patch.object(service.token_usage, "count", _nothing),
    ):
        yield


def _nothing(*_: object) -> None:
    """Count nothing."""


def _publication_s(service: Service) -> float:
    """Return the CPU seconds of one publication, whose instruments exist already."""
    with patch("ray.is_initialized", lambda: True):
        service.run_maintenance()
        began = time.thread_time()
        for _ in range(PUBLICATIONS):
            service.run_maintenance()
        return (time.thread_time() - began) / PUBLICATIONS


if __name__ == "__main__":
    main()
