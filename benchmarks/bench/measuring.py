"""The rounds: every contender takes its turn at every measurement, and in every round.

The speed of a shared machine drifts, so what is compared is measured next to each other, and the
order of the contenders turns round from one round to the next. A contender that breaks is left out
from then on, and its row says why; the others go on.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from benchmarks.bench.contenders import Contender, Encoder, Server
from benchmarks.bench.figures import Figures
from benchmarks.bench.inputs import Inputs, Kind
from benchmarks.bench.lines import NotMeasured
from benchmarks.bench.options import Options
from benchmarks.bench.plan import BULK, CACHED, CLOSED, LOADS, NOOP, SENTENCES, SINGLE, open_name
from benchmarks.bench.results import EMBEDDER, SERVICE, ST, Results
from benchmarks.bench.sending import Sender
from benchmarks.bench.vectors import nearness

CEILING_PASSES = 3
"""Before and after whatever has a share of the ceiling."""

WARM_UP = "warm-up"


@dataclass(slots=True)
class Bench:
    """Everything that takes part, and what has been found so far.

    ``ceiling`` finds the billions of operations a second that the machine can do at present.
    """

    options: Options
    inputs: Inputs
    contenders: dict[str, Contender]
    sender: Sender
    ceiling: Callable[[], float]
    operations_a_token: int
    results: Results

    def measure(self) -> None:
        """Compare vectors, warm up, and measure all rounds and then the open loops."""
        self._ceilings()  # the first passes take memory that the others have
        self._compare()
        self._warm_up()
        for number in range(self.options.rounds):
            say(f"round {number + 1} of {self.options.rounds}")
            self._round()
            self.contenders = dict(reversed(self.contenders.items()))
        for load in LOADS:
            for name, server in self._servers():
                self._turn(name, open_name(load), partial(self._open, name, server, load))

    def _compare(self) -> None:
        """Compare everybody's vectors with those in float32, which must come first."""
        texts, found = self.inputs.compared, {}
        for name, contender in list(self.contenders.items()):
            say(f"vectors of {name}")
            try:
                found[name] = contender.vectors(texts)
            except NotMeasured as error:
                self._leave_out(name, "vectors", error)
        if (exact := found.get(ST)) is not None:
            for name, vectors in found.items():
                self.results.cosines[name] = nearness(vectors, exact)

    def _warm_up(self) -> None:
        for name, server in self._servers():
            say(f"warming up {name}")
            for loop in (BULK, SINGLE[-1]):
                self._send(name, partial(self.sender.warm_up, name, server, loop))
        for name, encoder in self._encoders():
            say(f"warming up {name}")
            self._send(name, partial(encoder.rate, self.inputs.kinds[1].texts, 0.0))

    def _round(self) -> None:
        for kind in self.inputs.kinds:
            for name, encoder in self._encoders():
                work = partial(encoder.rate, kind.texts, self.options.seconds)
                self._turn(name, f"in process, {kind.name}", work, kind)
        for loop in CLOSED:
            for name, server in self._servers():
                work = partial(self.sender.closed, name, server, loop)
                self._turn(name, loop.name, work, self.inputs.pool)
        for name, server in self._servers():
            self._turn(name, NOOP, partial(self.sender.noop, server))
            if name == SERVICE:  # the peer has no cache
                self._turn(name, CACHED, partial(self.sender.cached, server, self.inputs.pool))

    def _open(self, name: str, server: Server, load: float) -> Figures:
        rows = (self.results.find(name, loop.name) for loop in SINGLE)
        capacity = max((row.median("per_s") or 0.0 for row in rows if row is not None), default=0.0)
        if capacity == 0.0:
            raise NotMeasured("its closed loops show no rate")
        return self.sender.opened(name, server, capacity * load)

    def _turn(
        self, name: str, measurement: str, work: Callable[[], Figures], kind: Kind | None = None
    ) -> None:
        """Measure once, unless the contender has been left out; ``kind`` is what is embedded."""
        if name not in self.contenders:
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
        """Find the ceiling a few times: what else the machine does only ever lowers it."""
        return [self.ceiling() for _ in range(CEILING_PASSES)]

    def _send(self, name: str, work: Callable[[], object]) -> None:
        """Do what nobody counts."""
        if name in self.contenders:
            try:
                work()
            except NotMeasured as error:
                self._leave_out(name, WARM_UP, error)

    def _leave_out(self, name: str, measurement: str, error: NotMeasured) -> None:
        del self.contenders[name]
        self.results.row(name, measurement).reason = str(error)
        say(f"  {measurement}, {name}: not measured: {error}")

    def _encoders(self) -> Iterator[tuple[str, Encoder]]:
        for name, contender in list(self.contenders.items()):
            if isinstance(contender, Encoder):
                yield name, contender

    def _servers(self) -> Iterator[tuple[str, Server]]:
        for name, contender in list(self.contenders.items()):
            if isinstance(contender, Server):
                yield name, contender


def say(line: str) -> None:
    """Tell on stderr how far it has come."""
    print(line, file=sys.stderr, flush=True)
