"""Loads have their shapes, and no server gets a text that it has seen."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any, cast

import pytest

from benchmarks.bench.contenders import Server
from benchmarks.bench.figures import Figures
from benchmarks.bench.inputs import Kind
from benchmarks.bench.lines import LineProcess, NotMeasured
from benchmarks.bench.options import parse
from benchmarks.bench.plan import BULK, CACHED_CLIENTS, SINGLE
from benchmarks.bench.sending import Sender

SERVER = Server("http://here", "/v1/embeddings", "/healthz")
POOL = [f"text {number}" for number in range(10)]


class FakeClient:
    """A load generator that sends nothing, and says that it sent three requests."""

    def __init__(self, statuses: dict[str, int] | None = None) -> None:
        self.asked: list[Mapping[str, Any]] = []
        self._statuses = {"200": 3} if statuses is None else statuses

    def ask(self, question: Mapping[str, Any], *, timeout_s: float) -> dict[str, Any]:
        """Note the load."""
        self.asked.append(question)
        return {"figures": asdict(Figures(5.0, statuses=self._statuses)), "sent": 3}


class BrokenClient(FakeClient):
    """A load generator that has ended."""

    def ask(self, question: Mapping[str, Any], *, timeout_s: float) -> dict[str, Any]:
        """Fail."""
        raise NotMeasured("it ended")


def _sender(client: FakeClient, *arguments: str) -> Sender:
    return Sender(cast("LineProcess", client), parse(arguments), POOL)


def test_a_server_never_sees_a_text_again_and_another_server_sees_the_same_ones() -> None:
    client = FakeClient()
    sender = _sender(client)
    sender.closed("a", SERVER, SINGLE[2])
    sender.closed("a", SERVER, BULK)
    sender.closed("b", SERVER, SINGLE[2])
    sender.closed("a", SERVER, SINGLE[2])

    first, bulk, other, last = (load["texts"] for load in client.asked)
    assert first == other
    assert first[:10] == POOL
    assert bulk[0] == first[3], "three requests of one text went before"
    assert last[0] == first[3 + 3 * BULK.size]


def test_a_load_has_the_clients_size_and_encoding_of_its_options() -> None:
    client = FakeClient()
    _sender(client, "--encoding", "float", "--seconds", "2").closed("a", SERVER, BULK)

    (load,) = client.asked
    assert (load["clients"], load["size"], load["encoding"]) == (4, 32, "float")
    assert load["seconds"] == 2.0
    assert load["url"] + load["path"] == "http://here/v1/embeddings"
    assert load["due"] is None


def test_an_open_loop_has_one_text_for_each_arrival() -> None:
    client = FakeClient()
    _sender(client, "--seconds", "4").opened("a", SERVER, 50.0)

    (load,) = client.asked
    assert len(load["texts"]) == len(load["due"]) == pytest.approx(50 * 2.5 * 4, rel=0.2)


def test_cached_texts_go_in_a_circle_and_a_no_op_has_none() -> None:
    client = FakeClient()
    sender = _sender(client)
    sender.cached(SERVER, Kind("pool", POOL, 4.0))
    sender.noop(SERVER)

    sender.like_cached(replace(SERVER, like_cached="/noop"), Kind("pool", POOL, 4.0))

    once, cached, noop, _, like_cached = client.asked
    assert once == {**cached, "again": False, "warm_s": 0.0}
    assert like_cached == {**cached, "path": "/noop"}
    assert (cached["again"], cached["texts"]) == (True, POOL)
    assert (noop["path"], noop["texts"]) == ("/healthz", [])
    assert cached["clients"] == noop["clients"] == CACHED_CLIENTS


def test_a_server_that_answers_nothing_with_200_is_not_measured() -> None:
    with pytest.raises(NotMeasured, match="503"):
        _sender(FakeClient({"503": 9})).noop(SERVER)


def test_a_load_generator_that_breaks_is_no_fault_of_the_server() -> None:
    with pytest.raises(RuntimeError, match="the load generator: it ended"):
        _sender(BrokenClient()).noop(SERVER)


def test_the_processor_time_of_this_process_counts_as_outside_the_model() -> None:
    server = replace(SERVER, processes=lambda: [os.getpid()])
    figures = _sender(FakeClient()).noop(server)

    assert figures.outside_ms is not None
    assert figures.outside_ms >= 0.0
