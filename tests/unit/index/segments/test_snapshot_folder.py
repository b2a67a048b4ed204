"""The files of interrupted saves are deleted at a start, and those of a running save stay."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import BinaryIO

import pytest

from embedder.index.segments import snapshot_folder
from embedder.index.segments.segment import Segment
from embedder.index.segments.snapshot_format import SnapshotIdentity, write_segment
from embedder.index.vector_index import VectorIndex
from tests.unit.index.small_index import save, small_settings
from tests.unit.index.storage.disk_load import points_from


def test_a_collection_that_is_opened_again_during_a_save_does_not_disturb_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two threads may open one collection at the same time; one of the two objects is dropped."""

    def write(file: BinaryIO, segment: Segment, identity: SnapshotIdentity) -> None:
        write_segment(file, segment, identity)
        with index._shard.store.reader.snapshot() as rows:
            row = rows.find_collection("c")
        assert row is not None
        index._shard.open(row)

    monkeypatch.setattr(snapshot_folder, "write_segment", write)
    with closing(VectorIndex(small_settings(tmp_path), background=False)) as index:
        index.upsert("c", points_from(0))
        save(index, "c")

        assert len(list(tmp_path.rglob("*.snap"))) == 1
        assert index.stats().save_failures == 0


def test_a_start_deletes_what_an_interrupted_save_has_left(tmp_path: Path) -> None:
    with closing(VectorIndex(small_settings(tmp_path), background=False)) as index:
        index.upsert("c", points_from(0))
        save(index, "c")
    (saved,) = tmp_path.rglob("*.snap")
    leftover = saved.with_name("segment-0000000002.snap.tmp")
    leftover.write_bytes(b"x")

    with closing(VectorIndex(small_settings(tmp_path), background=False)) as index:
        assert not leftover.exists()
        assert index.count("c") == 20
