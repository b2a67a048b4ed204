"""A copy that was interrupted after any write continues, also after changes of its source."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
import pytest

from embedder.core.errors import ConfigurationError
from embedder.index import sharding
from embedder.index.contract.points import Spec
from embedder.index.offline import copying
from embedder.index.offline.copying import PREFIX, Copy, free_identity
from embedder.index.storage.protocol import Store, Transaction
from tests.unit.index.offline.conftest import CHUNK
from tests.unit.index.offline.shards import SPEC, Shards, copy
from tests.unit.index.storage.contract.stores import commit, rows_of


class Interrupted(Exception):
    """Stands for the end of the process."""


class Failing:
    """A store whose process ends before the write of this number."""

    def __init__(self, store: Store, left: list[int]) -> None:
        self.reader, self._store, self._left = store.reader, store, left

    def submit(self, write: Any, **options: Any) -> Any:
        self._left[0] -= 1
        if self._left[0] < 0:
            raise Interrupted
        return self._store.submit(write, **options)


@pytest.mark.parametrize("changes", [False, True])
def test_an_interrupted_copy_continues_wherever_it_stopped(
    source: Shards, open_target: Callable[..., Shards], changes: bool
) -> None:
    target = open_target()
    for writes in itertools.count():
        left = [writes]
        failing: list[Any] = [Failing(store, left) for store in target.stores]
        identity = free_identity("one", target.stores)
        try:
            copy(source, failing, identity=identity)
        except Interrupted:
            pass
        else:
            break
        published = any(target.rows())
        # No client finds a part before all points are there.
        assert not published or _count(target) == len(source.content())
        if changes:
            source.put([f"new{writes}", "p0"], vectors=np.full((2, 3), writes, np.float32))
            source.delete([f"p{writes + 1}"])
        if changes and published:
            with pytest.raises(ConfigurationError, match="has changed since an earlier copy"):
                copy(source, target.stores, identity=identity)
            target.drop()
            identity = free_identity("one", target.stores)
        assert copy(source, target.stores, identity=identity) == len(source.content())
        assert target.content() == source.content()
        target.drop()
    assert writes > 10


CLIENTS = [f"client{number}" for number in range(10)]


def _serve(target: Shards) -> None:
    """Create the second part, as a service does that finds the first one alone, and write to it."""
    rows = sharding.rows_by_shard(CLIENTS, 2)[1]
    points = rows_of(CLIENTS, np.ones((len(CLIENTS), 3), np.float32)).select(rows)

    def write(rows: Transaction) -> None:
        if earlier := rows.find_collection("c"):
            rows.delete_collection(earlier)
        rows.upsert(rows.insert_collection("c", SPEC), points)

    commit(target.stores[1], write)


@pytest.mark.parametrize("replacing", [False, True])
@pytest.mark.parametrize("interrupted", [False, True])
def test_a_service_may_use_the_target_while_parts_get_their_names(
    source: Shards,
    open_target: Callable[..., Shards],
    interrupted: bool,
    replacing: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    target, publish, named = open_target(2), copying._publish, itertools.count()

    def publish_beside_a_service(one: Copy) -> Any:
        if next(named) == 1:
            _serve(target)
            if interrupted:
                raise Interrupted
        return publish(one)

    if replacing:
        target.put(["old", "older", "oldest"], spec=Spec(identity="other"))
    with monkeypatch.context() as patch, suppress(Interrupted):
        patch.setattr(copying, "_publish", publish_beside_a_service)
        copy(source, target.stores, replacing=replacing)
    if interrupted:
        copy(source, target.stores, replacing=replacing)

    found = target.content()
    clients = found.keys() & set(CLIENTS)
    assert clients
    assert {name: found[name] for name in found.keys() - clients} == source.content()
    for store in target.stores:
        with store.reader.snapshot() as rows:
            assert rows.deleted_among(["one"]) == []


def _count(target: Shards) -> int:
    rows = target.rows() + target.rows(PREFIX + "c")
    return sum(row.count for row in rows if row is not None)


def test_a_resumed_copy_stores_no_point_again(
    source: Shards, open_target: Callable[..., Shards]
) -> None:
    target = open_target(1)

    def stop(_: int) -> None:
        raise Interrupted

    with pytest.raises(Interrupted):
        copy(source, target.stores, stop)
    (row,) = target.rows(PREFIX + "c")
    assert row is not None
    assert row.count == CHUNK
    copy(source, target.stores)

    (done,) = target.rows()
    assert done is not None
    assert done.id == row.id
    chunks = [-(-row.count // CHUNK) for row in source.rows() if row]
    assert done.sequence == sum(chunks)
