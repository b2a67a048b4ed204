"""A count that an earlier version stored too low is corrected; any other wrong count is damage."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from embedder.core.storage_errors import StorageDamaged
from embedder.index.contract.points import Points
from embedder.index.storage.protocol import Effect, Transaction
from embedder.index.vector_index import VectorIndex
from tests.unit.index.small_index import small_settings


def _put(index: VectorIndex, ids: str) -> None:
    """Upsert points with these ids, which spaces separate."""
    names = ids.split(" ")
    count = len(names)
    rows = np.ones((count, 2), np.float32)
    index.upsert("c", Points(names, rows, [None] * count, [{}] * count))


def _set_count(index: VectorIndex, count: int) -> None:
    """Store a wrong count of collection "c"."""

    def write(rows: Transaction) -> Effect[None]:
        row = rows.find_collection("c")
        assert row is not None
        rows.update_collection(replace(row, count=count))
        return lambda: None

    index._shard.store.submit(write).result()


def test_a_wrong_count_of_such_ids_is_corrected_at_the_next_start(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """An earlier version cut an id at its first U+0000, and counted it as an existing point."""
    with closing(VectorIndex(small_settings(tmp_path), background=False)) as index:
        for name in ("a b", "a\0b", "b\0"):
            _put(index, name)
        _set_count(index, 2)
    for warned in (True, False):
        caplog.clear()
        with closing(VectorIndex(small_settings(tmp_path), background=False)) as index:
            assert ("2 points more than were counted" in caplog.text) is warned
            assert index.stats().status == "ready"
            assert [one.id for one in index.scroll("c").records] == ["a", "b", "a\0b", "b\0"]
            index.back_up("c", tmp_path / f"copy {warned}")


@pytest.mark.parametrize(("name", "count"), [("a", 1), ("a\0", 3), ("a\0", 0)])
def test_a_wrong_count_without_such_ids_is_damage(tmp_path: Path, name: str, count: int) -> None:
    with closing(VectorIndex(small_settings(tmp_path), background=False)) as index:
        _put(index, f"{name} b")
        _set_count(index, count)
    with (
        closing(VectorIndex(small_settings(tmp_path), background=False)) as index,
        pytest.raises(StorageDamaged),
    ):
        index.describe("c")
