"""What metrics cost a cached request, and what a publication costs a replica.

``python -m benchmarks.metrics_cost`` answers requests for one cached text through the application
of an ingress without a server, in pairs of processes: one with metrics, one without the lines of
the middleware and of the service that only metrics need. The counters of the pipeline, an addition
for a cached request, stay in both. Both take turns of a few requests, because the speed of a shared
machine drifts; each pair is new, because two equal processes differ by 3 %. It prints the CPU time
of the event loop's thread. Ray's instruments are real, but export nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import inspect
import multiprocessing
import os
import statistics
import textwrap
import time
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any
from unittest.mock import patch

from starlette.types import ASGIApp

from benchmarks.asgi_client import post
from benchmarks.walks import local_service
from deployments.ingress.asgi import build_asgi
from deployments.ingress.middleware import request
from deployments.ingress.middleware.request import RequestMiddleware
from deployments.ingress.service.connection import Connection as ModelConnection
from deployments.ingress.service.service import Service
from embedder.core.deadline import Deadline
from embedder.core.request import Embeddings, EmbedOptions
from embedder.core.types import Input

BODY = b'{"input": "the same text"}'
WARMING = 500
TURN = 50
"""Requests of one process before those of the other."""

PUBLISHED_S = 5.0
"""Seconds between two health checks of Serve, each of which publishes the metrics."""

PUBLICATIONS = 20
GOAL = 1.02

METRIC_LINES = (
    "token = CURRENT_REQUEST.set(context)",
    "CURRENT_REQUEST.reset(token)",
    "labels = context.route_label",
    "stats.answered.append(",
    "if len(stats.answered)",
    "stats.count()",
)
"""Parts of the lines of the middleware that only metrics need."""


class Ingress:
    """An ingress in a process of its own, which answers requests one after the other."""

    def __init__(self, *, counted: bool) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, other = context.Pipe()
        self._process = context.Process(target=_serve, args=(other, counted), daemon=True)
        self._process.start()
        other.close()

    def seconds(self, requests: int) -> float:
        """Return the CPU seconds of so many requests, of one publication for 0 requests."""
        self._pipe.send(requests)
        seconds: float = self._pipe.recv()
        return seconds

    def close(self) -> None:
        """End the process."""
        self._pipe.close()
        self._process.join()


def main() -> None:
    """Measure, and print the ratio with its noise."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=20)
    parser.add_argument("--turns", type=int, default=30, help=f"of {TURN} requests, in a run")
    options = parser.parse_args()
    pairs = [_pair(options.turns) for _ in range(options.pairs)]
    with_us, without_us, publication_s = (
        statistics.median(one) for one in zip(*pairs, strict=True)
    )
    ratios = [with_us / without_us for with_us, without_us, _ in pairs]
    low, ratio, high = statistics.quantiles(ratios, n=4)
    mean, error = statistics.fmean(ratios), statistics.stdev(ratios) / len(ratios) ** 0.5
    print(f"CPU of a cached request: {with_us:.1f} us with metrics, {without_us:.1f} us without")
    print(f"ratio: median {ratio:.4f}, quartiles {low:.4f} to {high:.4f}; ", end="")
    print(f"mean {mean:.4f} with standard error {error:.4f}; goal {GOAL}")
    print(f"a publication takes {publication_s * 1e3:.1f} ms, ", end="")
    print(f"{publication_s / PUBLISHED_S:.3%} of a core; load {os.getloadavg()[0]:.1f}")


def _pair(turns: int) -> tuple[float, float, float]:
    """Return CPU microseconds of a request with and without metrics, and seconds to publish."""
    counted, bare = Ingress(counted=True), Ingress(counted=False)
    seconds: dict[Ingress, list[float]] = {counted: [], bare: []}
    for ingress in seconds:
        ingress.seconds(WARMING)  # loads the model, fills the cache and warms up
    for turn in range(turns):
        for ingress in (counted, bare) if turn % 2 else (bare, counted):
            seconds[ingress].append(ingress.seconds(TURN))
    publication_s = counted.seconds(0)
    for ingress in seconds:
        ingress.close()
    with_us, without_us = (_fast_turn_s(seconds[one]) / TURN * 1e6 for one in (counted, bare))
    return with_us, without_us, publication_s


def _fast_turn_s(turns: list[float]) -> float:
    """Return the time below which a tenth of the turns is: other programs slow the others down."""
    return statistics.quantiles(turns, n=10)[0]


def _serve(pipe: Connection, counted: bool) -> None:
    if not counted:
        _leave_out_metrics()
    with suppress(EOFError):
        asyncio.run(_answer(pipe))
    os._exit(0)  # without waiting for the threads of the replicas


def _leave_out_metrics() -> None:
    """Compile the middleware without the lines for metrics, and call the pipeline at once."""
    lines = inspect.getsource(RequestMiddleware.__call__).splitlines()
    kept = [line for line in lines if not any(part in line for part in METRIC_LINES)]
    assert len(lines) - len(kept) == len(METRIC_LINES), "the middleware has other lines for metrics"
    names: dict[str, Any] = {}
    exec(textwrap.dedent("\n".join(kept)), vars(request), names)
    for kind, name, function in (
        (RequestMiddleware, "__call__", names["__call__"]),
        (Service, "_embed", _embed),
    ):
        setattr(kind, name, function)


async def _embed(
    _: Service,
    connection: ModelConnection,
    inputs: Sequence[Input],
    options: EmbedOptions,
    deadline: Deadline,
) -> Embeddings:
    return await connection.pipeline.embed(inputs, options, deadline)


async def _answer(pipe: Connection) -> None:
    service = await local_service("colocated")
    app = build_asgi(service)
    while True:
        requests = pipe.recv()  # blocks this process, whose turn it is not
        pipe.send(await _run(app, requests) if requests else _publication_s(service))


async def _run(app: ASGIApp, requests: int) -> float:
    """Return the CPU seconds of these requests in this thread."""
    began = time.thread_time()
    for _ in range(requests):
        await post(app, "/v1/embeddings", BODY)
    return time.thread_time() - began


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
