"""A copy that was interrupted after any write continues, also after changes of its source."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from embedder.core.errors import ConfigurationError
from embedder.index.copying import PREFIX, free_identity
from embedder.index.storage.protocol import Store
from tests.unit.index.copying.conftest import CHUNK
from tests.unit.index.copying.shards import Shards, copy


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
        else:
            assert copy(source, target.stores, identity=identity) == len(source.content())
            assert target.content() == source.content()
        target.drop()
    assert writes > 10


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
