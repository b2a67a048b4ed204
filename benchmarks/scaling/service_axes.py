"""Two axes of a configured service over HTTP: its clients, and its share of known texts."""

from __future__ import annotations

import time

from benchmarks.scaling.asking import Asker, asker
from benchmarks.scaling.laws import asymptotic_bounds, mixture
from benchmarks.scaling.options import Options
from benchmarks.scaling.rounds import Report, in_turn
from benchmarks.scaling.series import Series, series
from benchmarks.service import measured_service

CLIENTS = (1, 2, 4, 8, 16, 32, 64, 128)
QUICK_CLIENTS = (1, 4, 16, 64)
SHARES = (0.0, 0.5, 0.8, 0.9, 0.95, 0.99, 1.0)
QUICK_SHARES = (0.0, 0.5, 0.9, 1.0)
SHARE_CLIENTS = 32
INSERTED_S = 1.0
"""Seconds after which all insertions into the cache have ended, for which no request waits."""


def concurrency(options: Options, report: Report) -> list[Series]:
    """Measure the texts a second by the clients that wait, each for one new text."""
    with (
        asker(options.seed, options.results / "logs") as asking,
        measured_service(None, options.config) as url,
    ):
        return [by_clients(asking, url, options, report)]


def hits(options: Options, report: Report) -> list[Series]:
    """Measure the texts a second by the share of them that the cache has."""
    with (
        asker(options.seed, options.results / "logs") as asking,
        measured_service(None, options.config) as url,
    ):
        return [by_share(asking, url, options, report)]


def by_clients(asking: Asker, url: str, options: Options, report: Report) -> Series:
    """Return the series of the first axis, as this service gives it.

    Raises:
        NotMeasured: a request was neither answered nor refused with a ``Retry-After``.
    """
    places = options.choose(CLIENTS, QUICK_CLIENTS)
    asking.new(url, clients=places[-1], size=1, seconds=options.warm_up_s)
    found = in_turn(
        places,
        lambda clients: asking.new(url, clients=clients, size=1, seconds=options.seconds),
        rounds=options.rounds,
        report=report,
    )
    return series("", [*found.items()], asymptotic_bounds)


def by_share(asking: Asker, url: str, options: Options, report: Report) -> Series:
    """Return the series of the second axis, as this service gives it.

    Raises:
        NotMeasured: a request was neither answered nor refused with a ``Retry-After``.
    """
    asking.new(url, clients=SHARE_CLIENTS, size=1, seconds=options.warm_up_s)
    asking.make_known(url)
    time.sleep(INSERTED_S)
    found = in_turn(
        options.choose(SHARES, QUICK_SHARES),
        lambda share: asking.mixed(url, share, clients=SHARE_CLIENTS, seconds=options.seconds),
        rounds=options.rounds,
        report=report,
    )
    return series("", [*found.items()], mixture)
