"""While the database does not answer, stale searches go on, and all else fails until it answers."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from functools import partial
from itertools import count
from pathlib import Path
from subprocess import CalledProcessError
from threading import Semaphore

import numpy as np
import pytest

from embedder.core.errors import StageUnavailable, Unavailable
from embedder.core.storage_errors import StorageFull
from embedder.index import shard
from embedder.index.collection.open_collection import OpenCollection
from embedder.index.collection.registry import CollectionRegistry
from embedder.index.contract.filter_parsing import parse
from embedder.index.contract.points import Hit, Query
from embedder.index.segments.segment_index import Delta
from embedder.index.vector_index import VectorIndex
from tests.unit.index.brute_force import points
from tests.unit.index.small_index import small_settings
from tests.unit.index.storage.postgres.postgres_server import PostgresServer, running_server
from tests.unit.waiting import LONG_S

CALLS = 4
Open = Callable[[], VectorIndex]

VECTOR = np.array([1, 0], np.float32)
STALE = Query("c", VECTOR, 5, include=(), consistency="stale")


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    """Yield a server that a test may stop."""
    server = running_server()
    yield server
    with suppress(CalledProcessError):  # a failed test has left it stopped
        server.stop()
    server.start()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a write that meets a lost connection fail at once."""
    running_server()
    from embedder.index.storage.postgres.writing import committer

    monkeypatch.setattr(committer, "PATIENCE_S", 0.0)


def _search(index: VectorIndex, query: Query) -> list[Hit]:
    return index.search([query])[0]


@pytest.mark.usefixtures("impatient")
def test_stale_searches_go_on_and_all_else_waits_for_the_database(
    replica: Open, server: PostgresServer
) -> None:
    index, other = replica(), replica()
    index.upsert("c", points({"a": [1, 0], "b": [0, 1]}))
    other.upsert("c", points({"d": [1, 1]}))
    index.describe("c")
    server.stop()

    assert [hit.id for hit in _search(index, STALE)] == ["a", "d", "b"]
    assert index.describe("c", "stale").count == index.count("c", None, "stale") == 3
    assert [one.name for one in index.collections("stale")] == ["c"]
    with_text = Query("c", VECTOR, 5, include=("text",), consistency="stale")
    for call in (
        partial(_search, index, Query("c", VECTOR, 5, include=())),
        partial(_search, index, with_text),
        partial(_search, index, Query("c", None, 5, id="a", include=(), consistency="stale")),
        partial(index.fetch, "c", ["a"]),
        partial(index.fetch, "c", ["a"], (), None, "stale"),
        partial(index.count, "c"),
        partial(index.count, "c", parse({"n": 1}), "stale"),
        partial(index.describe, "unknown", "stale"),
        index.collections,
    ):
        with pytest.raises(StageUnavailable):
            call()
    with pytest.raises(Unavailable):
        index.upsert("c", points({"e": [1, 0]}))
    assert other.search([STALE])
    assert index.stats().status != "failed"
    server.start()

    assert [hit.id for hit in _search(index, Query("c", VECTOR, 5))] == ["a", "d", "b"]
    index.upsert("c", points({"e": [1, 0]}))
    assert other.count("c") == 4


@pytest.mark.usefixtures("impatient")
def test_an_index_opens_when_the_database_answers(url: str, server: PostgresServer) -> None:
    settings = small_settings(url=url)
    with closing(VectorIndex(settings, background=False)) as index:
        index.upsert("c", points({"a": [1, 0]}))
    server.stop()
    with closing(VectorIndex(settings, background=False)) as index:
        for call in (partial(_search, index, STALE), partial(index.count, "c")):
            with pytest.raises(StageUnavailable):
                call()
        with pytest.raises(Unavailable):
            index.upsert("c", points({"b": [1, 0]}))
        assert index.health().status == "unavailable"
        server.start()

        assert index.count("c") == 1
        index.upsert("c", points({"b": [1, 0]}))
        assert index.health().status == "ready"


def test_a_write_that_cannot_be_applied_while_the_database_is_down_is_found_later(
    replica: Open, server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = replica()
    index.upsert("c", points({"a": [1, 0]}))
    append = Delta.append

    def fail(*_: object) -> Delta:
        monkeypatch.setattr(Delta, "append", append)
        server.stop()
        raise MemoryError

    monkeypatch.setattr(Delta, "append", fail)
    with pytest.raises(MemoryError):
        index.upsert("c", points({"b": [0, 1]}))
    server.start()

    assert [hit.id for hit in _search(index, Query("c", VECTOR, 5))] == ["a", "b"]
    assert index.stats().status == "ready"


def test_an_attempt_to_open_uses_nothing_of_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = small_settings(tmp_path)
    with closing(VectorIndex(settings, background=False)) as index:
        index.upsert("c", points({"a": [1, 0]}))
    opened: list[OpenCollection] = []
    put = CollectionRegistry.put

    def record(registry: CollectionRegistry, collection: OpenCollection) -> None:
        opened.append(collection)
        put(registry, collection)

    def fail(_: str) -> None:
        monkeypatch.setattr(shard, "reach", lambda _: None)
        raise StorageFull(str(tmp_path))

    monkeypatch.setattr(CollectionRegistry, "put", record)
    monkeypatch.setattr(shard, "reach", fail)
    with closing(VectorIndex(settings, background=False)) as index:
        assert index.count("c") == 1
        assert len(opened) == 2


def test_a_restart_of_the_database_is_not_noticed(
    replica: Open, server: PostgresServer, tmp_path: Path
) -> None:
    index = replica()
    index.upsert("c", points({"a": [1, 0]}))
    server.stop()
    server.start()

    assert index.count("c") == 1
    index.back_up("c", tmp_path / "copy")
    assert index.restore(tmp_path / "copy", "again").count == 1


def test_calls_that_wait_for_an_attempt_to_open_share_its_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A host that does not answer takes seconds: the calls must not try one after the other."""
    attempts, waiting = count(), Semaphore(0)

    class Lock:
        def __init__(self) -> None:
            self._lock = threading.Lock()

        def __enter__(self) -> None:
            waiting.release()
            self._lock.acquire()

        def __exit__(self, *_: object) -> None:
            self._lock.release()

    def fail(*_: object) -> None:
        if next(attempts):
            for _call in range(CALLS):
                assert waiting.acquire(timeout=LONG_S)
        raise StageUnavailable("database of the index", "down")

    monkeypatch.setattr(shard, "open_store", fail)
    with closing(VectorIndex(small_settings(), background=False)) as index:
        monkeypatch.setattr(index._shard, "_opening", Lock())
        with ThreadPoolExecutor(CALLS) as threads:
            calls = [threads.submit(index.count, "c") for _ in range(CALLS)]
            for call in calls:
                with pytest.raises(StageUnavailable):
                    call.result(LONG_S)
    assert next(attempts) == 2
