"""More requests than the service can answer: latencies of the refused and of the accepted ones.

First the capacity: clients that each wait for their answer, with 64 texts in progress. Then an open
loop, whose arrivals are a Poisson process: at 80 % of the capacity, and at several times of it. A
refused request returns once, exactly after its ``Retry-After``. All requests are distinct, so no
cache has an answer; times count from when a request was due.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections.abc import Awaitable
from contextlib import suppress
from dataclasses import asdict
from itertools import islice
from pathlib import Path

import aiohttp

from benchmarks.arrivals import arrivals
from benchmarks.http_load import Answer, closed_loop, open_loop, session
from benchmarks.overload_figures import Figures, figures_of
from benchmarks.overload_routes import ROUTES, prepare, requests
from benchmarks.service import measured_service

IN_PROGRESS = 64
"""Texts of the clients that wait for their answers."""

WARM_UP_S = 30.0
"""Long enough for autoscaling, so that the capacity is that of all replicas."""

CAPACITY_S = 10.0
CALM = 0.8
PAUSE_S = 3.0
PROBE_S = 0.1


def main() -> None:
    """Measure, and print a table and a JSON line."""
    options = _options()
    with measured_service(options.url, options.config) as url:
        capacity, phases = asyncio.run(_measure(url, options))
    print(
        f"capacity: {capacity:.1f} requests/s of {options.route}, "
        f"{IN_PROGRESS // options.texts} clients that wait"
    )
    for name, *values in zip(*(asdict(phase).items() for phase in phases), strict=True):
        cells = [value for _, value in (name, *values)]
        print(f"{name[0]:24}" + "".join(f"{_cell(cell):>24}" for cell in cells))
    calm, overloaded = phases
    times = overloaded.p99_ms / calm.p99_ms
    print(f"p99 of accepted requests: {times:.2f} times that at {CALM:.0%}")
    print(json.dumps({"capacity": capacity, "phases": [asdict(phase) for phase in phases]}))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", help="of a running service, in place of one of its own")
    parser.add_argument("--config", type=Path, default=Path("serve_config.yaml"))
    parser.add_argument("--seconds", type=float, default=30.0, help="of the overload")
    parser.add_argument("--factor", type=float, default=3.0, help="the overload, in capacities")
    parser.add_argument(
        "--texts", type=int, default=8, choices=(1, 2, 4, 8, 16), help="in one request"
    )
    parser.add_argument("--route", choices=ROUTES, default="embed")
    parser.add_argument("--warm-up", type=float, default=WARM_UP_S, help="seconds")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


async def _measure(url: str, options: argparse.Namespace) -> tuple[float, list[Figures]]:
    async with session(url) as opened:
        await prepare(opened, options.route)
        sent = requests(options.route, options.seed, options.texts)
        clients = IN_PROGRESS // options.texts
        await closed_loop(opened, sent, clients, options.warm_up)
        answers = await closed_loop(opened, sent, clients, CAPACITY_S)
        good = sum(answer.status == 200 for answer in answers)
        capacity = good / max(answer.ended_s for answer in answers)
        figures = []
        for factor, seconds in ((CALM, options.seconds * 2 / 3), (options.factor, options.seconds)):
            await asyncio.sleep(PAUSE_S)
            due = arrivals(capacity * factor, seconds, options.seed)
            load = open_loop(opened, list(islice(sent, len(due))), due)
            began, cpu = time.perf_counter(), time.process_time()
            answers, probes = await probed(opened, load)
            elapsed_s = time.perf_counter() - began
            share = (time.process_time() - cpu) / elapsed_s
            name = f"{factor:g} x capacity"
            figures.append(figures_of(name, (seconds, elapsed_s), answers, probes, share))
        return capacity, figures


async def probed(
    session: aiohttp.ClientSession, load: Awaitable[list[Answer]]
) -> tuple[list[Answer], list[float]]:
    """Return the answers of a load, and the seconds of health checks beside it."""
    probes: list[float] = []
    prober = asyncio.create_task(_probe(session, probes))
    answers = await load
    prober.cancel()
    with suppress(asyncio.CancelledError):
        await prober
    return answers, probes


async def _probe(session: aiohttp.ClientSession, seconds: list[float]) -> None:
    """Check the health at a fixed rate, in a task for each check, until cancelled."""
    running: set[asyncio.Task[None]] = set()

    async def once() -> None:
        began = time.perf_counter()
        with suppress(aiohttp.ClientError, asyncio.TimeoutError):
            async with session.get("/healthz") as answer:
                await answer.read()
        seconds.append(time.perf_counter() - began)

    try:
        while True:
            running.add(task := asyncio.create_task(once()))
            task.add_done_callback(running.discard)
            await asyncio.sleep(PROBE_S)
    finally:
        await asyncio.gather(*running)


def _cell(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
