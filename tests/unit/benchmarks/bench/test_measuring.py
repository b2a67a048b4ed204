"""Every contender takes a turn in every round."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, cast

import numpy as np
import pytest

from benchmarks.bench.contenders import Contender, Encoder, Server
from benchmarks.bench.inputs import Inputs, Kind
from benchmarks.bench.lines import LineProcess, NotMeasured
from benchmarks.bench.measuring import Bench
from benchmarks.bench.options import parse
from benchmarks.bench.plan import (
    CACHED,
    CLOSED,
    LIKE_CACHED,
    LOADS,
    MIXED,
    NOOP,
    SENTENCES,
    SINGLE,
    open_name,
)
from benchmarks.bench.results import EMBEDDER, INFINITY, SERVICE, ST
from benchmarks.bench.sending import Sender
from embedder.core.types import Vectors
from tests.unit.benchmarks.bench.test_sending import FakeClient

INPUTS = Inputs(
    (Kind("sentences", ["a", "b"], 20.0), Kind("mixed", ["a", "c"], 40.0)),
    Kind("pool", ["p", "q"], 10.0),
    ["a", "c"],
    (1, 2, 3, 4),
)


running: set[str] = set()
"""Contenders that have been started and have not ended."""


class FakeWorker:
    """A worker of a known rate, whose vectors are the axes, and that breaks in the end."""

    def __init__(self, rate: float, breaks_after: int) -> None:
        self.about = {"version": "1"}
        self._rate = rate
        self._left = breaks_after

    def ask(self, question: Mapping[str, Any], *, timeout_s: float) -> dict[str, Any]:
        """Answer as `benchmarks.peers.worker` does."""
        if "vectors" in question:
            axes = np.eye(len(question["vectors"]), 4, dtype="<f4")
            return {"vectors": base64.b64encode(axes.tobytes()).decode(), "width": 4}
        if question["seconds"] > 0:  # no warm-up
            self._left -= 1
        if self._left < 0:
            raise NotMeasured("out of memory")
        return {"texts_per_s": self._rate, "passes": 1}


class FakeServer(Server):
    """A server whose vectors are a little off, or that has none."""

    def vectors(self, texts: list[str]) -> Vectors:
        """Return nearly the axes."""
        if self.url == "http://broken":
            raise NotMeasured("no vectors: 500")
        return np.eye(len(texts), 4, dtype=np.float32) + np.float32(0.01)


def _bench(contenders: dict[str, Contender], client: FakeClient, *, rounds: int) -> Bench:
    only = ["--only", *contenders]
    options = parse(["--rounds", str(rounds), "--seconds", "0.01", *only])
    sender = Sender(cast("LineProcess", client), options, INPUTS.pool.texts)
    return Bench(
        options, INPUTS, lambda name: _started(contenders, name), sender, lambda: 2.0, 10**6
    )


@contextmanager
def _started(contenders: dict[str, Contender], name: str) -> Iterator[Contender]:
    if name not in contenders:
        raise NotMeasured("not installed")
    running.add(name)
    assert len(running & {INFINITY, SERVICE}) <= 1, "a server that waits would take its share"
    try:
        yield contenders[name]
    finally:
        running.remove(name)


def _encoder(rate: float, breaks_after: int = 99) -> Encoder:
    return Encoder(cast("LineProcess", FakeWorker(rate, breaks_after)))


def _server(url: str = "http://here", *, noop: str | None = None) -> FakeServer:
    return FakeServer(url, "/v1/embeddings", "/healthz", noop)


def test_every_contender_takes_a_turn_in_every_round_and_open_loops_come_once() -> None:
    contenders: dict[str, Contender] = {
        ST: _encoder(10.0),
        EMBEDDER: _encoder(50.0),
        INFINITY: _server(),
        SERVICE: _server(noop="/noop"),
    }
    bench = _bench(contenders, FakeClient(), rounds=3)
    bench.measure()

    counts = {(row.contender, row.measurement): len(row.rounds) for row in bench.results}
    in_process = {(name, kind): 3 for name in (ST, EMBEDDER) for kind in (SENTENCES, MIXED)}
    names = [*(loop.name for loop in CLOSED), NOOP]
    closed = {(name, loop): 3 for name in (INFINITY, SERVICE) for loop in names}
    opened = {(name, open_name(load)): 1 for name in (INFINITY, SERVICE) for load in LOADS}
    cached = {(SERVICE, CACHED): 3, (SERVICE, LIKE_CACHED): 3}
    assert counts == in_process | closed | opened | cached


def test_shares_are_those_of_the_ceiling_and_of_the_bare_encoder() -> None:
    contenders: dict[str, Contender] = {EMBEDDER: _encoder(50.0), SERVICE: _server()}
    bench = _bench(contenders, FakeClient(), rounds=2)
    bench.measure()

    bare = bench.results.find(EMBEDDER, SENTENCES)
    service = bench.results.find(SERVICE, SINGLE[0].name)
    assert bare is not None
    assert service is not None
    assert bare.share == pytest.approx([50 * 20 * 1e6 / 1e9 / 2.0] * 2)
    assert service.share == pytest.approx([5 * 10 * 1e6 / 1e9 / 2.0] * 2)
    assert service.of_bare == pytest.approx([0.1, 0.1])


def test_vectors_are_compared_with_those_in_float32() -> None:
    contenders: dict[str, Contender] = {ST: _encoder(10.0), SERVICE: _server()}
    bench = _bench(contenders, FakeClient(), rounds=1)
    bench.measure()

    assert bench.results.cosines[ST].least == pytest.approx(1.0)
    assert 0.99 < bench.results.cosines[SERVICE].least < 1.0
