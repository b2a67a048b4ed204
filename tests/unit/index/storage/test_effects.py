"""A committed write that cannot be made visible: the collection is loaded again, or closed."""

from __future__ import annotations

import errno
from functools import partial
from pathlib import Path

import pytest

from embedder.core.storage_errors import StorageDamaged
from embedder.index.collection.open_collection import OpenCollection
from embedder.index.contract.points import Query
from embedder.index.segments.segment_index import Delta
from embedder.index.vector_index import VectorIndex
from tests.unit.index.small_index import small_settings
from tests.unit.index.storage.disk_load import holds, points_from


@pytest.mark.parametrize("error", [MemoryError(), ValueError("x"), OSError(errno.EIO, "x")])
def test_a_collection_is_loaded_again_if_a_committed_write_is_not_applied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    index = VectorIndex(small_settings(tmp_path), background=False)
    index.upsert("c", points_from(0))
    append = Delta.append

    def fail(*_: object) -> Delta:
        monkeypatch.setattr(Delta, "append", append)
        raise error

    monkeypatch.setattr(Delta, "append", fail)
    with pytest.raises(type(error)):
        index.upsert("c", points_from(20))
    index.upsert("c", points_from(40))

    # The write was committed, though not acknowledged: every search sees it.
    assert index.stats().status == "ready"
    assert holds(index, [0, 20, 40])
    assert len(index.search([Query("c", points_from(0).vectors[0], 99)])[0]) == 60
    index.close()


def test_a_collection_that_cannot_be_loaded_again_is_closed_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = VectorIndex(small_settings(tmp_path), background=False)
    for name in ("c", "other"):
        index.upsert(name, points_from(0))

    def fail(*_: object) -> None:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(Delta, "append", fail)
        patch.setattr(OpenCollection, "reload", fail)
        with pytest.raises(MemoryError):
            index.upsert("c", points_from(20))

    for call in (partial(index.upsert, "c", points_from(0)), partial(index.count, "c")):
        with pytest.raises(StorageDamaged, match="'c'"):
            call()
    index.upsert("other", points_from(20))
    index.close()
    index = VectorIndex(small_settings(tmp_path), background=False)
    assert holds(index, [0, 20])
    index.close()
