"""A collection whose points are of another history than the rows is read from the rows again."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import numpy as np
import pytest

from embedder.index.collection.open_collection import OpenCollection
from embedder.index.contract.points import Metric, Query, Spec
from embedder.index.storage.records import CollectionRow
from embedder.index.vector_index import VectorIndex
from tests.unit.index.brute_force import points
from tests.unit.index.small_index import merge_all

pytest.importorskip("psycopg", reason="psycopg is not installed")

from tests.unit.index.storage.postgres.open_database import OpenDatabase

Open = Callable[[], VectorIndex]

STALE = Query("c", np.array([1, 0], np.float32), 9, include=(), consistency="stale")
READS: dict[str, Callable[[VectorIndex], object]] = {
    "search": lambda index: index.search([Query("c", np.array([1, 0], np.float32), 9)]),
    "scroll": lambda index: index.scroll("c"),
    "all": lambda index: index._shard.follow(),
}


@pytest.fixture
def index(replica: Open) -> VectorIndex:
    """Return a replica with a point, as it is after a failover that it has not noticed."""
    index = replica()
    index.upsert("c", points({"a": [1, 0]}))
    _age(index)
    return index


def _age(index: VectorIndex) -> None:
    segments = index._shard.find("c")._segments
    assert segments is not None
    segments.history = "before"


def _history(index: VectorIndex) -> str | None:
    segments = index._shard.collections.open["c"]._segments
    return None if segments is None else segments.history


@pytest.mark.parametrize("read", READS)
def test_a_latest_read_loads_the_collection_again(index: VectorIndex, read: str) -> None:
    index.search([STALE])
    assert _history(index) == "before"
    READS[read](index)

    assert _history(index) == index._shard.store.history()
    assert index.count("c") == 1
    assert index.stats().status == "ready"


def test_an_own_write_is_left_to_the_next_read(index: VectorIndex) -> None:
    index.upsert("c", points({"b": [0, 1]}))
    assert [hit.id for hit in index.search([STALE])[0]] == ["a"]

    READS["search"](index)
    assert [hit.id for hit in index.search([STALE])[0]] == ["a", "b"]


def test_a_merge_that_has_read_other_rows_is_not_used(index: VectorIndex) -> None:
    collection = index._shard.find("c")
    merge_all(index, "c")

    assert _history(index) == "before"
    assert collection.state is not None
    assert all(segment.path is None for segment in collection.state.segments)
    assert collection.segments_of(index._shard.store.history()) is None


def test_concurrent_reads_load_it_once(index: VectorIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    loads = []
    load = OpenCollection._load

    def counted(collection: OpenCollection, row: CollectionRow) -> object:
        loads.append(row)
        return load(collection, row)

    monkeypatch.setattr(OpenCollection, "_load", counted)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: READS["search"](index), range(4)))

    assert len(loads) == 1


def test_a_collection_with_the_number_of_a_lost_one_replaces_it(replica: Open, url: str) -> None:
    index = replica()
    index.create("c", Spec(Metric.L2))
    lost = index._shard.find("c")
    with closing(OpenDatabase(url, shards=1)) as database:
        database.execute("DELETE FROM embedder.collections")
        database.execute("ALTER TABLE embedder.collections ALTER COLUMN id RESTART")
    replica().create("c", Spec(Metric.DOT))

    assert index.describe("c").metric is Metric.DOT
    assert index._shard.find("c").id == lost.id
    index.upsert("c", points({"a": [1, 0]}))
    assert index.count("c") == 1
