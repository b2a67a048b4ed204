"""More requests than the service can answer: how fast it says no, and what that does to the rest.

First the capacity: clients that each wait for their answer, 64 texts of them in progress. Then an
open loop, whose arrivals are a Poisson process that waits for nobody: at 80 % of the capacity, and
at several times of it. Whoever is refused comes back once, exactly after its ``Retry-After``. All
requests are distinct, so no cache has an answer; times count from when a request was due.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict
from itertools import islice
from pathlib import Path

import aiohttp

from benchmarks.arrivals import arrivals
from benchmarks.overload_figures import FAILED, Figures, Outcome, figures_of
from benchmarks.overload_routes import ROUTES, Asked, prepare, requests
from benchmarks.service import measured_service

IN_PROGRESS = 64
"""Texts of the clients that wait for their answers."""

WARM_UP_S = 30.0
"""Long enough for autoscaling, so that the capacity is that of all replicas."""

CAPACITY_S = 10.0
CALM = 0.8
PAUSE_S = 3.0
PROBE_S = 0.1
TIMEOUT_S = 120.0
JSON = {"content-type": "application/json"}


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
    calm, crowded = phases
    print(f"p99 of what is accepted: {crowded.p99_ms / calm.p99_ms:.2f} times that at {CALM:.0%}")
    print(json.dumps({"capacity": capacity, "phases": [asdict(phase) for phase in phases]}))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", help="of a running service, in place of one of its own")
    parser.add_argument("--config", type=Path, default=Path("serve_config.yaml"))
    parser.add_argument("--seconds", type=float, default=30.0, help="of the crowded phase")
    parser.add_argument("--factor", type=float, default=3.0, help="the crowd, in capacities")
    parser.add_argument(
        "--texts", type=int, default=8, choices=(1, 2, 4, 8, 16), help="in one request"
    )
    parser.add_argument("--route", choices=ROUTES, default="embed")
    parser.add_argument("--warm-up", type=float, default=WARM_UP_S, help="seconds")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


async def _measure(url: str, options: argparse.Namespace) -> tuple[float, list[Figures]]:
    connector = aiohttp.TCPConnector(limit=0)
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
    async with aiohttp.ClientSession(url, connector=connector, timeout=timeout) as session:
        await prepare(session, options.route)
        asked = requests(options.route, options.seed, options.texts)
        clients = IN_PROGRESS // options.texts
        await closed_loop(session, asked, clients, options.warm_up)
        capacity = await closed_loop(session, asked, clients, CAPACITY_S)
        figures = []
        for factor, seconds in ((CALM, options.seconds * 2 / 3), (options.factor, options.seconds)):
            await asyncio.sleep(PAUSE_S)
            due = arrivals(capacity * factor, seconds, options.seed)
            parts = list(islice(asked, len(due)))
            began, cpu = time.perf_counter(), time.process_time()
            outcomes, probes = await open_loop(session, due, parts)
            elapsed_s = time.perf_counter() - began
            share = (time.process_time() - cpu) / elapsed_s
            name = f"{factor:g} x capacity"
            figures.append(figures_of(name, (seconds, elapsed_s), outcomes, probes, share))
        return capacity, figures


async def closed_loop(
    session: aiohttp.ClientSession, requests: Iterator[Asked], clients: int, seconds: float
) -> float:
    """Return the answers a second of clients that each wait for theirs before they ask again.

    Where a rate has not been measured yet some are refused, and wait as long as they are told.
    """
    end = time.perf_counter() + seconds
    answers = 0

    async def client() -> None:
        nonlocal answers
        while time.perf_counter() < end:
            status, wait_s = await _ask(session, next(requests))
            answers += status == 200
            await asyncio.sleep(wait_s or 0.0)

    began = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(clients)))
    return answers / (time.perf_counter() - began)


async def open_loop(
    session: aiohttp.ClientSession, due: Sequence[float], requests: Sequence[Asked]
) -> tuple[list[Outcome], list[float]]:
    """Send each request when it is due, whatever became of others; probe health meanwhile."""
    probes: list[float] = []
    prober = asyncio.create_task(_probe(session, probes))
    began = time.perf_counter()
    tasks = []
    for moment, asked in zip(due, requests, strict=True):
        # Without a pause where several are due: each pass of the loop may wait for a busy machine.
        if (wait_s := began + moment - time.perf_counter()) > 0:
            await asyncio.sleep(wait_s)
        tasks.append(asyncio.create_task(_visit(session, began + moment, asked)))
    outcomes = list(await asyncio.gather(*tasks))
    prober.cancel()
    with suppress(asyncio.CancelledError):
        await prober
    return outcomes, probes


async def _visit(session: aiohttp.ClientSession, due: float, asked: Asked) -> Outcome:
    """Ask once, and once more where the service says when."""
    outcome = Outcome(late_s=time.perf_counter() - due)
    outcome.status, wait_s = await _ask(session, asked)
    outcome.seconds = time.perf_counter() - due
    if wait_s is not None:
        await asyncio.sleep(wait_s)
        began = time.perf_counter()
        outcome.again, _ = await _ask(session, asked)
        outcome.again_s = time.perf_counter() - began
    return outcome


async def _ask(session: aiohttp.ClientSession, asked: Asked) -> tuple[int, float | None]:
    """Return the status, and after how many seconds a refused request may come back."""
    try:
        async with session.post(asked.path, data=asked.body, headers=JSON) as answer:
            await answer.read()
            wait = answer.headers.get("retry-after") if answer.status == 429 else None
            return answer.status, None if wait is None else float(wait)
    except (aiohttp.ClientError, asyncio.TimeoutError):
        return FAILED, None


async def _probe(session: aiohttp.ClientSession, seconds: list[float]) -> None:
    """Ask for health at a fixed pace, each time on its own, until cancelled."""
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
