"""Two axes of a service over HTTP, as it is configured: how many ask, and how much it knows."""

from __future__ import annotations

import time

from benchmarks.scaling.asking import Asker, asker
from benchmarks.scaling.laws import asymptotic_bounds, mixture
from benchmarks.scaling.options import Options
from benchmarks.scaling.rounds import Tell, in_turn
from benchmarks.scaling.series import Series, series
from benchmarks.service import measured_service

CLIENTS = (1, 2, 4, 8, 16, 32, 64, 128)
QUICK_CLIENTS = (1, 4, 16, 64)
SHARES = (0.0, 0.5, 0.8, 0.9, 0.95, 0.99, 1.0)
QUICK_SHARES = (0.0, 0.5, 0.9, 1.0)
SHARE_CLIENTS = 32
INSERTED_S = 1.0
"""Inserts into the cache are not waited for by who asks; after so long they are there."""


def concurrency(options: Options, tell: Tell) -> list[Series]:
    """Measure the texts a second by the clients that wait, each for one new text."""
    with (
        asker(options.seed, options.results / "logs") as asking,
        measured_service(None, options.config) as url,
    ):
        return [by_clients(asking, url, options, tell)]


def hits(options: Options, tell: Tell) -> list[Series]:
    """Measure the texts a second by the share of them that the cache has."""
    with (
        asker(options.seed, options.results / "logs") as asking,
        measured_service(None, options.config) as url,
    ):
        return [by_share(asking, url, options, tell)]


def by_clients(asking: Asker, url: str, options: Options, tell: Tell) -> Series:
    """Return the series of the first axis, as this service gives it.

    Raises:
        NotMeasured: not every request was answered, be it with when to come back.
    """
    places = options.choose(CLIENTS, QUICK_CLIENTS)
    asking.new(url, clients=places[-1], size=1, seconds=options.warm_up_s)
    found = in_turn(
        places,
        lambda clients: asking.new(url, clients=clients, size=1, seconds=options.seconds),
        rounds=options.rounds,
        tell=tell,
    )
    return series("", [*found.items()], asymptotic_bounds)


def by_share(asking: Asker, url: str, options: Options, tell: Tell) -> Series:
    """Return the series of the second axis, as this service gives it.

    Raises:
        NotMeasured: not every request was answered, be it with when to come back.
    """
    asking.new(url, clients=SHARE_CLIENTS, size=1, seconds=options.warm_up_s)
    asking.make_known(url)
    time.sleep(INSERTED_S)
    found = in_turn(
        options.choose(SHARES, QUICK_SHARES),
        lambda share: asking.mixed(url, share, clients=SHARE_CLIENTS, seconds=options.seconds),
        rounds=options.rounds,
        tell=tell,
    )
    return series("", [*found.items()], mixture)
