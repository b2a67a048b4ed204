"""A directory has one owner, and a second one is refused."""

from __future__ import annotations

import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from embedder.core.errors import Unavailable
from embedder.core.storage_errors import DirectoryInUse
from embedder.index.contract.points import Points, Spec
from embedder.index.shard import Shard
from embedder.index.storage.disk.lock import DirectoryLock
from embedder.index.storage.protocol import Effect, Transaction
from embedder.index.storage.records import CollectionRow
from embedder.index.vector_index import VectorIndex
from tests.unit.index.brute_force import points
from tests.unit.index.faults.crash_processes import ROOT
from tests.unit.index.small_index import small_settings
from tests.unit.waiting import LONG_S

pytestmark = pytest.mark.sqlite

POINT = Points(["a"], np.ones((1, 2), np.float32), [None], [{}])


def test_a_second_owner_is_refused_with_the_name_of_the_first(tmp_path: Path) -> None:
    index = VectorIndex(small_settings(tmp_path), background=False)
    index.upsert("c", POINT)
    with pytest.raises(DirectoryInUse, match=r"pid \d+, epoch 1"):
        VectorIndex(small_settings(tmp_path), background=False)
    code = (
        "import sys; from tests.unit.index.small_index import small_settings;"
        "from embedder.index.vector_index import VectorIndex;"
        "from embedder.core.storage_errors import DirectoryInUse;"
        "from pathlib import Path\n"
        "try: VectorIndex(small_settings(Path(sys.argv[1])))\n"
        "except DirectoryInUse: sys.exit(7)"
    )
    other = subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT)

    assert other.returncode == 7
    index.upsert("c", POINT)
    index.close()


def test_closing_the_lock_releases_the_directory(tmp_path: Path) -> None:
    lock = DirectoryLock(tmp_path)
    with pytest.raises(DirectoryInUse, match="unknown"):
        DirectoryLock(tmp_path)
    lock.close()
    lock.close()
    DirectoryLock(tmp_path).close()


def test_a_write_after_closing_is_refused(tmp_path: Path) -> None:
    index = VectorIndex(small_settings(tmp_path), background=False)
    store = index._shard.store
    index.close()
    index.close()
    with pytest.raises(Unavailable):
        store.submit(lambda _: lambda: None)


def test_a_temporary_directory_is_deleted_on_close() -> None:
    index = VectorIndex(small_settings())
    directory = index._shard._folder.path
    index.upsert("c", POINT)

    assert (directory / "truth.db").exists()
    index.close()
    assert not directory.exists()


def test_a_collected_index_releases_its_directory(tmp_path: Path) -> None:
    index = VectorIndex(small_settings(tmp_path))
    index.upsert("c", POINT)
    del index
    again = VectorIndex(small_settings(tmp_path))

    assert again.stats().recovery.was_clean
    assert again.count("c") == 1
    again.close()


def test_an_index_that_is_collected_in_its_own_writer_is_closed_after_the_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = threading.Event()
    close = Shard.close

    def close_and_tell(shard: Shard) -> None:
        close(shard)
        closed.set()

    monkeypatch.setattr(Shard, "close", close_and_tell)
    index = [VectorIndex(small_settings(tmp_path))]
    store = index[0]._shard.store

    def write(rows: Transaction) -> Effect[CollectionRow]:
        index.clear()  # the last reference, as if the collector ran in this thread
        row = rows.insert_collection("c", Spec())
        return lambda: row

    assert store.submit(write).result().name == "c"
    assert closed.wait(LONG_S)
    with closing(VectorIndex(small_settings(tmp_path))) as again:
        assert again.stats().recovery.was_clean
        assert again.describe("c").count == 0


def test_a_shard_that_closes_during_a_purge_shuts_down_cleanly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("embedder.index.storage.sqlite.reclaiming.PURGE_ROWS", 1)
    index = VectorIndex(small_settings(tmp_path), background=False)
    index.upsert("c", points({f"p{number}": [1.0, number] for number in range(200)}))
    index.delete("c")
    index.close()

    again = VectorIndex(small_settings(tmp_path), background=False)
    assert again.stats().recovery.was_clean
    again.close()
