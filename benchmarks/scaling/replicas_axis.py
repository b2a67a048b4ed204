"""The axis of encoder replicas: each point is a service of its own, in which only they encode."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.scaling.asking import Asker, asker
from benchmarks.scaling.laws import amdahl
from benchmarks.scaling.options import Options
from benchmarks.scaling.rounds import Report, in_turn
from benchmarks.scaling.series import Series, series
from benchmarks.service import changed_service

TEXTS_A_REQUEST = 32
RESERVED_CPUS = 0.25
"""CPUs of a replica in Ray, so that two for each core leave half of the cores to the others."""

Serve = Callable[[int], AbstractContextManager[str]]
"""Starts a service with a number of encoders, and gives its address."""


def replicas(options: Options, report: Report) -> list[Series]:
    """Measure the texts a second by the encoders, up to two for each core."""
    serve = partial(_served, options.config)
    with asker(options.seed, options.results / "logs") as asking:
        return [by_replicas(asking, serve, os.cpu_count() or 1, options, report)]


def by_replicas(
    asking: Asker, serve: Serve, cores: int, options: Options, report: Report
) -> Series:
    """Return the series of services with 1 to 2·cores encoders, or with 1 to cores if quick.

    Raises:
        NotMeasured: a request was neither answered nor refused with a ``Retry-After``.
    """

    def work(count: int) -> float:
        clients = 2 * count + 2
        with serve(count) as url:
            for seconds in (options.warm_up_s, options.seconds):
                rate = asking.new(url, clients=clients, size=TEXTS_A_REQUEST, seconds=seconds)
        return rate

    places = range(1, options.choose(2 * cores, max(cores, 2)) + 1)
    found = in_turn(places, work, rounds=options.rounds, report=report)
    return series("", [*found.items()], partial(amdahl, cores=cores))


def encoders(count: int) -> dict[str, dict[str, Any]]:
    """Return the changes of a configuration in which only ``count`` replicas encode."""
    return {"encoder": {"replicas": count, "placement": "remote", "num_cpus": RESERVED_CPUS}}


def _served(config: Path, count: int) -> AbstractContextManager[str]:
    return changed_service(config, encoders(count))
