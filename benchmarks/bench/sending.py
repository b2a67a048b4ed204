"""Loads for servers, put together and sent through the load generator.

Counts the texts that each server has seen, so that none of its caches can have one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

from benchmarks.arrivals import arrivals
from benchmarks.bench.client import Load
from benchmarks.bench.contenders import Server
from benchmarks.bench.figures import Figures
from benchmarks.bench.inputs import Kind, Supply
from benchmarks.bench.lines import LineProcess, NotMeasured
from benchmarks.bench.loads import TIMEOUT_S
from benchmarks.bench.options import Options
from benchmarks.bench.plan import CACHED_CLIENTS, CACHED_TEXTS, Closed
from benchmarks.bench.processor import core_seconds, difference, outside

WARM_S = 1.0
"""Seconds of every closed loop before its window opens, so that all clients are served."""

MOST_TEXTS_PER_S = 4000
"""Texts made ready for a second; the window of a faster server ends when they are used up."""


class Sender:
    """Puts servers under load, ``pool`` being the texts of all but the cached ones."""

    def __init__(self, client: LineProcess, options: Options, pool: Sequence[str]) -> None:
        self._client = client
        self._options = options
        self._pool = pool
        self._supplies: dict[str, Supply] = {}

    def warm_up(self, name: str, server: Server, loop: Closed) -> None:
        """Send half of the load that warms a server up."""
        self._closed(name, server, loop, self._options.warm_up_s / 2)

    def closed(self, name: str, server: Server, loop: Closed) -> Figures:
        """Let clients of distinct texts wait for their answers.

        Raises:
            NotMeasured: no request was answered with 200.
        """
        return self._closed(name, server, loop, self._options.seconds)

    def opened(self, name: str, server: Server, rate_per_s: float) -> Figures:
        """Let requests of one distinct text arrive as a Poisson process.

        Raises:
            NotMeasured: no request was answered with 200.
        """
        due = arrivals(rate_per_s, self._options.open_s, self._options.seed)
        supply = self._supply(name)
        load = self._load(server, supply.offer(len(due)), due=due)
        return self._send(load, server, supply)

    def cached(self, server: Server, kind: Kind) -> Figures:
        """Let clients send the same few texts again and again, after they have been computed.

        Raises:
            NotMeasured: no request was answered with 200.
        """
        load = self._load(
            server,
            kind.texts[:CACHED_TEXTS],
            clients=CACHED_CLIENTS,
            seconds=self._options.seconds,
            again=True,
        )
        self._send(replace(load, again=False, warm_s=0.0), server)
        return self._send(load, server)

    def like_cached(self, server: Server, kind: Kind) -> Figures:
        """Let clients send the same texts to a no-op that answers with as many bytes.

        Raises:
            NotMeasured: no request was answered with 200.
        """
        assert server.like_cached is not None
        noop = replace(server, path=server.like_cached)
        return self.cached(noop, kind)

    def noop(self, server: Server) -> Figures:
        """Let clients request the cheapest answer that there is.

        Raises:
            NotMeasured: no request was answered with 200.
        """
        load = Load(
            url=server.url,
            path=server.noop,
            texts=[],
            clients=CACHED_CLIENTS,
            warm_s=WARM_S,
            seconds=self._options.seconds,
        )
        return self._send(load, server)

    def _closed(self, name: str, server: Server, loop: Closed, seconds: float) -> Figures:
        supply = self._supply(name)
        texts = supply.offer(int(MOST_TEXTS_PER_S * (WARM_S + seconds)))
        load = self._load(server, texts, clients=loop.clients, size=loop.size, seconds=seconds)
        return self._send(load, server, supply)

    def _load(self, server: Server, texts: list[str], **shape: Any) -> Load:
        return Load(
            url=server.url,
            path=server.path,
            texts=texts,
            encoding=self._options.encoding,
            warm_s=WARM_S,
            **shape,
        )

    def _send(self, load: Load, server: Server, supply: Supply | None = None) -> Figures:
        """Send a load; the texts that went with it are taken from the supply."""
        began = {} if server.processes is None else core_seconds(server.processes())
        timeout_s = load.warm_s + load.seconds + self._options.open_s + 2 * TIMEOUT_S
        try:
            answer = self._client.ask(asdict(load), timeout_s=timeout_s)
        except NotMeasured as error:
            # This is no fault of the server: without a load generator nothing can go on.
            raise RuntimeError(f"the load generator: {error}") from error
        if supply is not None:
            supply.spent(int(answer["sent"]) * load.size)
        figures = Figures(**answer["figures"])
        if server.processes is not None and answer["sent"]:
            taken = outside(difference(began, core_seconds(server.processes())))
            figures = replace(figures, outside_ms=1000 * taken / (answer["sent"] * load.size))
        if "200" not in figures.statuses:
            raise NotMeasured(f"no request was answered with 200: {figures.statuses}")
        return figures

    def _supply(self, name: str) -> Supply:
        return self._supplies.setdefault(name, Supply(self._pool))
