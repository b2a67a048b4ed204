"""Segments are saved while merges are due, and merged while nothing can be saved."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from embedder.index.collection.open_collection import OpenCollection
from embedder.index.contract.points import Points
from embedder.index.segments.segment import Segment
from embedder.index.segments.snapshot_folder import SnapshotFolder
from tests.unit.index.small_index import SmallIndex, small_settings

SEGMENTS, ROWS = 4, 16


@pytest.fixture
def index(tmp_path: Path) -> SmallIndex:
    """Return an index with as many segments as one merge takes, none of them saved."""
    index = SmallIndex(settings=small_settings(tmp_path / "index", recovery_s=1e-6))
    chance = np.random.default_rng(1)
    for number in range(SEGMENTS):
        rows = chance.normal(0, 1, (ROWS, 2)).astype(np.float32)
        ids = [f"{number}-{row}" for row in range(ROWS)]
        index.upsert(Points(ids, rows, [None] * ROWS, [{}] * ROWS))
    return index


def _segments(collection: OpenCollection) -> tuple[Segment, ...]:
    assert collection.state is not None
    return collection.state.segments


def test_segments_are_saved_before_they_are_merged(index: SmallIndex) -> None:
    collection = index.index._shard.find("c")
    assert len(_segments(collection)) == SEGMENTS
    for saved in range(1, SEGMENTS + 1):
        assert collection.maintain()
        assert sum(one.path is not None for one in _segments(collection)) == saved
    assert collection.maintain()

    assert [len(one) for one in _segments(collection)] == [SEGMENTS * ROWS]
    index.index.close()


def test_segments_are_merged_while_none_can_be_saved(
    index: SmallIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    collection = index.index._shard.find("c")
    with monkeypatch.context() as patched:
        patched.setattr(SnapshotFolder, "save", refuse)
        with pytest.raises(OSError, match="No space"):
            collection.maintain()
        assert collection.maintain()
        assert [len(one) for one in _segments(collection)] == [SEGMENTS * ROWS]
        with pytest.raises(OSError, match="No space"):
            collection.maintain()
    assert collection.maintain()
    assert not collection.maintain()

    assert [one.path is not None for one in _segments(collection)] == [True]
    assert collection.save_failures == 2
    index.index.close()
