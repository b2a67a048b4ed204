"""Replicas of one shard are written and searched at once: each read has all acknowledged writes.

``TEST_FOLLOWS`` is the number of writes that are looked for, 10,000 in a long run.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import numpy as np

from embedder.index.contract.filter_parsing import parse
from embedder.index.contract.points import Hit, Metric, Points, Query, Spec
from embedder.index.vector_index import VectorIndex
from tests.unit.index.small_index import ALL_FIELDS

FOLLOWS = int(os.environ.get("TEST_FOLLOWS", "40"))
REPLICAS = 3
THREADS = 3
HOT = [f"hot{number}" for number in range(20)]
TOLERANCE = 0.01

Open = Callable[[], VectorIndex]


def _points(values: dict[str, float], **metadata: object) -> Points:
    """Return points whose text states their vector."""
    rows = np.array([[value, 1.0] for value in values.values()], np.float32)
    texts = [str(value) for value in values.values()]
    return Points(list(values), rows, list(texts), [metadata] * len(values))


def _query(value: float, top_k: int, given: Mapping[str, object] | None = None) -> Query:
    condition = None if given is None else parse(dict(given))
    vector = np.array([value, 1.0], np.float32)
    return Query("c", vector, top_k, filter=condition, include=ALL_FIELDS)


def _is_one_version(hit: Hit, asked: float) -> bool:
    """Say whether score, text and vector are of the same version."""
    assert hit.vector is not None
    assert hit.distance is not None
    value = float(str(hit.text))
    return float(hit.vector[0]) == value and abs(hit.distance - abs(value - asked)) < TOLERANCE


class Client:
    """Writes through one replica, and looks at once through the next one."""

    def __init__(self, number: int, replicas: list[VectorIndex]) -> None:
        self.number = number
        self._replicas = replicas
        self._stored: dict[str, float] = {}

    def run(self, follows: int) -> None:
        """Look for all writes and deletions."""
        for turn in range(follows):
            writer = self._replicas[(turn + self.number) % REPLICAS]
            reader = self._replicas[(turn + self.number + 1 + turn % (REPLICAS - 1)) % REPLICAS]
            self._write(writer, reader, turn)
            if len(self._stored) > 5:
                self._delete(writer, reader)
            self._look_for_hot_points(reader)

    def _write(self, writer: VectorIndex, reader: VectorIndex, turn: int) -> None:
        name, value = f"{self.number}-{turn}", 1e5 * (self.number + 1) + turn
        own = {"own": self.number, "turn": turn}
        writer.upsert("c", _points({name: value}, **own))
        self._stored[name] = value

        found, filtered = reader.search([_query(value, 1), _query(value, 5, own)])
        assert [hit.id for hit in found] == [hit.id for hit in filtered] == [name]
        assert all(_is_one_version(hit, value) for hit in (*found, *filtered))
        (record,) = reader.fetch("c", [name])
        assert record.text == str(value)
        assert reader.count("c", parse({"own": self.number})) == len(self._stored)

    def _delete(self, writer: VectorIndex, reader: VectorIndex) -> None:
        name = next(iter(self._stored))
        value = self._stored.pop(name)
        assert writer.delete_points("c", [name]).count == 1

        found, filtered = reader.search([_query(value, 9), _query(value, 9, {"own": self.number})])
        assert name not in [hit.id for hit in found]
        assert sorted(hit.id for hit in filtered) == sorted(self._stored)
        assert reader.fetch("c", [name]) == []

    def _look_for_hot_points(self, reader: VectorIndex) -> None:
        """Points that others overwrite all the time are found, each once and in one version."""
        (found,) = reader.search([_query(-50.0, 99, {"hot": True})])
        assert sorted(hit.id for hit in found) == sorted(HOT)
        assert all(_is_one_version(hit, -50.0) for hit in found)


def _overwrite(index: VectorIndex, done: Event) -> None:
    chance = np.random.default_rng(0)
    while not done.is_set():
        names = chance.choice(HOT, 5, replace=False).tolist()
        values = chance.integers(-100, 0, 5).tolist()
        index.upsert("c", _points(dict(zip(names, map(float, values), strict=True)), hot=True))


def _maintain(replicas: list[VectorIndex], done: Event) -> None:
    while not done.is_set():
        for index in replicas:
            index.run_maintenance()


def test_each_read_has_all_acknowledged_writes(replica: Open) -> None:
    replicas, done = [replica() for _ in range(REPLICAS)], Event()
    replicas[0].create("c", Spec(Metric.L2))
    replicas[0].upsert("c", _points(dict.fromkeys(HOT, -1.0), hot=True))
    with ThreadPoolExecutor(THREADS + REPLICAS) as threads:
        others = [threads.submit(_overwrite, index, done) for index in replicas[1:]]
        others.append(threads.submit(_maintain, replicas, done))
        clients = [Client(number, replicas) for number in range(THREADS)]
        try:
            list(threads.map(lambda client: client.run(FOLLOWS // THREADS), clients))
        finally:
            done.set()
        for future in others:
            future.result()

    expected = [hit.id for hit in replicas[0].search([_query(0.0, 999)])[0]]
    for index in replicas:
        assert index.stats().status == "ready"
        assert index.count("c") == index.describe("c").count == len(expected)
        assert [hit.id for hit in index.search([_query(0.0, 999)])[0]] == expected
