"""The commands that compare the simulation with this machine: calibrate, predict and measure."""

from __future__ import annotations

import argparse
import asyncio
import os
from collections.abc import Sequence
from dataclasses import asdict
from itertools import islice

import numpy as np

from benchmarks.arrivals import arrivals
from benchmarks.bench.report import line
from benchmarks.http_load import closed_loop, open_loop, session
from benchmarks.service import changed_service
from benchmarks.simulation.calibration import calibrated, predicted
from benchmarks.simulation.costs import Calibration
from benchmarks.simulation.figures import Figures
from benchmarks.simulation.measuring import CHANGES, Measured, Target, texts

SEEDS = 5
"""Simulations of a prediction; their spread is printed."""

CLIENTS = 64
"""Clients of the saturated load: each waits for its answer, then sends the next request."""

PAUSE_S = 2.0
"""Seconds between two loads."""


def calibrate(options: argparse.Namespace) -> None:
    """Measure a low load and a saturated one, and write the constants that follow."""
    with changed_service(options.config, CHANGES) as url:
        low, full = asyncio.run(_loads(url, options, (options.rate, None)))
    _report(f"{options.rate:g} requests/s", low, options)
    _report("saturated", full, options)
    calibration = calibrated(low, full)
    calibration.write(options.costs)
    ingress, encoder = calibration.ingress, calibration.encoder
    print(
        f"ingress: {ingress.request_s * 1e3:.3f} ms a request, {ingress.call_s * 1e3:.3f} ms a "
        f"call; hop {ingress.hop_s * 1e3:.3f} ms, other delay {ingress.base_s * 1e3:.3f} ms\n"
        f"encoder: {encoder.batch_s * 1e3:.3f} ms a batch, {encoder.tokens_per_s:,.0f} tokens/s, "
        f"spread {encoder.spread:.2f}\nwrote {options.costs}"
    )
    print(line({"ingress": asdict(ingress), "encoder": asdict(encoder)}))


def predict(options: argparse.Namespace) -> None:
    """Simulate the measured service at another rate."""
    calibration = Calibration.read(options.costs)
    figures = [predicted(calibration, options.rate, options.seconds, seed) for seed in range(SEEDS)]
    for name in ("sent_per_s", "answered_per_s", "p50_ms", "p99_ms", "refused"):
        values = [getattr(one, name) for one in figures]
        print(f"{name:16}{np.median(values):>10.4g}   {min(values):.4g}–{max(values):.4g}")
    print(line({"rate": options.rate, "predicted": [asdict(one) for one in figures]}))


def measure(options: argparse.Namespace) -> None:
    """Measure one rate."""
    with changed_service(options.config, CHANGES) as url:
        (measured,) = asyncio.run(_loads(url, options, (options.rate,)))
    _report(f"{options.rate:g} requests/s", measured, options)


async def _loads(
    url: str, options: argparse.Namespace, rates: Sequence[float | None]
) -> list[Measured]:
    """Measure loads of these rates one after the other; None saturates the service."""
    async with session(url) as opened:
        target, requests = Target(opened), texts(options.seed)
        await closed_loop(opened, requests, CLIENTS, options.warm_up)
        measured = []
        for rate in rates:
            await asyncio.sleep(PAUSE_S)
            if rate is None:
                load = closed_loop(opened, requests, CLIENTS, options.seconds)
            else:
                due = arrivals(rate, options.seconds, options.seed)
                load = open_loop(opened, list(islice(requests, len(due))), due)
            measured.append(await target.measured(load))
        return measured


def _report(name: str, measured: Measured, options: argparse.Namespace) -> None:
    figures = figures_of(measured, options.seconds)
    facts = {
        "load": name,
        **asdict(figures),
        "batches": measured.batches,
        "tokens": measured.tokens,
        "busy": measured.busy_s / measured.seconds,
        "ingress_cpu": measured.ingress_cpu_s / measured.seconds,
        "load_average": os.getloadavg()[0],
    }
    for key, value in facts.items():
        print(f"{key:16}{value:>12.4g}" if isinstance(value, float) else f"{key:16}{value:>12}")
    print(line(facts))


def figures_of(measured: Measured, seconds: float) -> Figures:
    """Return the figures of a measured load that was sent in ``seconds``, like a simulation's."""
    answered = [answer for answer in measured.answers if answer.status == 200]
    refused = sum(answer.status == 429 and not answer.returned for answer in measured.answers)
    times_ms = np.array([answer.seconds for answer in answered]) * 1000
    p50, p99 = np.percentile(times_ms, [50, 99])
    return Figures(
        sent_per_s=measured.sent / seconds,
        answered_per_s=sum(answer.ended_s < seconds for answer in answered) / seconds,
        p50_ms=float(p50),
        p99_ms=float(p99),
        mean_ms=float(times_ms.mean()),
        refused=refused / measured.sent,
        lost=1 - len(answered) / measured.sent,
    )
