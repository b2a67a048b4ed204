"""The rounds: every contender takes its turn at every measurement, and in every round.

The speed of a shared machine drifts, so what is compared is measured near each other, and the
order of the contenders turns round from one round to the next. A server takes its share of the
machine even without requests, so each is started for its turn and ended after it,
while encoders that wait take nothing. A contender that breaks is left out from then on, and its row
says why; the others go on.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from benchmarks.bench.contenders import Contender, Encoder, Server
from benchmarks.bench.figures import Figures
from benchmarks.bench.inputs import Inputs, Kind
from benchmarks.bench.lines import NotMeasured
from benchmarks.bench.options import Options
from benchmarks.bench.plan import (
    BULK,
    CACHED,
    CLOSED,
    LIKE_CACHED,
    LOADS,
    NOOP,
    SENTENCES,
    SINGLE,
    open_name,
)
from benchmarks.bench.results import CONTENDERS, EMBEDDER, SERVERS, SERVICE, ST, Results
from benchmarks.bench.sending import Sender
from benchmarks.bench.vectors import nearness
from embedder.core.types import Vectors

CEILING_PASSES = 3
"""Before and after each measurement that has a share of the ceiling."""

START = "start"
"""Stands for the measurement where none has been made yet."""


@dataclass(slots=True)
class Bench:
    """The parts of a run, and its results so far.

    ``start`` starts a contender by its name. ``ceiling`` finds the billions of operations a second
    that the machine can do at present. ``about`` has the description that each contender gives.
    """

    options: Options
    inputs: Inputs
    start: Callable[[str], AbstractContextManager[Contender]]
    sender: Sender
    ceiling: Callable[[], float]
    operations_a_token: int
    results: Results = field(default_factory=Results)
    about: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    _left_out: set[str] = field(default_factory=set, init=False)
    _exact: Vectors | None = field(default=None, init=False)

    def measure(self) -> Results:
        """Measure all rounds, and in the last one the open loops."""
        self._ceilings()  # the first passes take memory that the others have
        names = [name for name in CONTENDERS if name in self.options.only]
        encoders: dict[str, Encoder] = {}
        with ExitStack() as stack:
            for name in names:
                if name not in SERVERS:
                    self._begin(name, stack, encoders)
            for number in range(1, self.options.rounds + 1):
                say(f"round {number} of {self.options.rounds}")
                self._encode(encoders)
                for name in names:
                    if name in SERVERS and name not in self._left_out:
                        self._serve(name, last=number == self.options.rounds)
                encoders = dict(reversed(encoders.items()))
                names.reverse()
        return self.results

    def _begin(self, name: str, stack: ExitStack, encoders: dict[str, Encoder]) -> None:
        """Start an encoder, compare its vectors and warm it up."""
        say(f"starting {name}")
        try:
            encoder = stack.enter_context(self.start(name))
            assert isinstance(encoder, Encoder)
            encoders[name] = encoder
            self._compare(name, encoder)
            encoder.rate(self.inputs.compared, 0.0)
        except (NotMeasured, OSError) as error:
            self._leave_out(name, START, error)

    def _encode(self, encoders: Mapping[str, Encoder]) -> None:
        for kind in self.inputs.kinds:
            for name, encoder in encoders.items():
                work = partial(encoder.rate, kind.texts, self.options.seconds)
                self._turn(name, f"in process, {kind.name}", work, kind)

    def _serve(self, name: str, *, last: bool) -> None:
        """Start a server, warm it up, and measure it once; the first time, compare its vectors."""
        say(f"starting {name}")
        try:
            with self.start(name) as server:
                assert isinstance(server, Server)
                if name not in self.about:
                    self._compare(name, server)
                for loop in (BULK, SINGLE[-1]):
                    self.sender.warm_up(name, server, loop)
                self._load(name, server)
                for load in LOADS if last else ():
                    self._turn(name, open_name(load), partial(self._open, name, server, load))
        except (NotMeasured, OSError) as error:
            self._leave_out(name, START, error)

    def _load(self, name: str, server: Server) -> None:
        for loop in CLOSED:
            work = partial(self.sender.closed, name, server, loop)
            self._turn(name, loop.name, work, self.inputs.pool)
        self._turn(name, NOOP, partial(self.sender.noop, server))
        if server.like_cached is not None:  # the peers have no cache
            self._turn(name, CACHED, partial(self.sender.cached, server, self.inputs.pool))
            work = partial(self.sender.like_cached, server, self.inputs.pool)
            self._turn(name, LIKE_CACHED, work)

    def _open(self, name: str, server: Server, load: float) -> Figures:
        rows = (self.results.find(name, loop.name) for loop in SINGLE)
        capacity = max((row.median("per_s") or 0.0 for row in rows if row is not None), default=0.0)
        if capacity == 0.0:
            raise NotMeasured("its closed loops show no rate")
        return self.sender.opened(name, server, capacity * load)

    def _compare(self, name: str, contender: Contender) -> None:
        """Compare vectors with those of the contender that computes in float32."""
        vectors = contender.vectors(self.inputs.compared)
        if name == ST:
            self._exact = vectors
        if self._exact is not None:
            self.results.cosines[name] = nearness(vectors, self._exact)
        self.about[name] = contender.about

    def _turn(
        self, name: str, measurement: str, work: Callable[[], Figures], kind: Kind | None = None
    ) -> None:
        """Measure once, unless the contender has been left out; ``kind`` are the embedded texts."""
        if name in self._left_out:
            return
        passes = [] if kind is None else self._ceilings()
        try:
            figures = work()
        except NotMeasured as error:
            self._leave_out(name, measurement, error)
            return
        row = self.results.row(name, measurement)
        row.rounds.append(figures)
        if kind is not None:
            gflops = figures.per_s * kind.tokens_a_text * self.operations_a_token / 1e9
            row.share.append(gflops / max(passes + self._ceilings()))
        bare = self.results.find(EMBEDDER, SENTENCES)
        if name == SERVICE and kind is not None and bare is not None:
            row.of_bare.append(figures.per_s / bare.rounds[-1].per_s)
        tail = "" if figures.p50_ms is None else f", p50 {figures.p50_ms:.1f} ms"
        say(f"  {measurement}, {name}: {figures.per_s:.1f}/s{tail}")

    def _ceilings(self) -> list[float]:
        """Find the ceiling a few times, because other work of the machine only lowers it."""
        return [self.ceiling() for _ in range(CEILING_PASSES)]

    def _leave_out(self, name: str, measurement: str, error: Exception) -> None:
        self._left_out.add(name)
        self.results.row(name, measurement).reason = str(error)
        say(f"  {measurement}, {name}: not measured: {error}")


def say(line: str) -> None:
    """Print the progress to stderr."""
    print(line, file=sys.stderr, flush=True)
