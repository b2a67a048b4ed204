"""Each owner of a file has an epoch; the owner of an earlier one cannot commit."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import numpy as np
import pytest

from embedder.core.storage_errors import StorageReadOnly
from embedder.index.contract.points import Points
from embedder.index.storage.disk.lock import FILE_NAME
from embedder.index.storage.sqlite.store import SqliteStore
from embedder.index.vector_index import VectorIndex
from tests.unit.index.small_index import small_settings

POINT = Points(["a"], np.ones((1, 2), np.float32), [None], [{}])


def test_every_owner_has_a_later_epoch_and_signs_with_it(tmp_path: Path) -> None:
    for epoch in (1, 2, 3):
        store = SqliteStore(tmp_path, 0, durable=True)

        assert store.epoch == epoch
        assert f"epoch {epoch}\n" in (tmp_path / FILE_NAME).read_text()
        store.close()


def test_an_owner_of_an_old_epoch_cannot_commit(tmp_path: Path) -> None:
    index = VectorIndex(small_settings(tmp_path), background=False)
    index.upsert("c", POINT)
    with sqlite3.connect(tmp_path / "truth.db") as db:
        db.execute("UPDATE meta SET value = value + 1 WHERE key = 'epoch'")
    db.close()
    for _ in range(2):
        with pytest.raises(StorageReadOnly) as caught:
            index.upsert("c", Points(["b"], np.ones((1, 2), np.float32), [None], [{}]))
    assert "another owner" in caught.value.reason
    assert index.count("c") == 1
    index.close()
    index = VectorIndex(small_settings(tmp_path), background=False)
    assert [record.id for record in index.scroll("c").records] == ["a"]
    index.close()
