"""Snapshots keep the nodes that copies share, and those of the format before nodes still open."""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import numpy as np
import pytest

from embedder.core.types import Vectors
from embedder.index.contract.kinds import IndexKind
from embedder.index.contract.points import Metric, Points, Query, Spec
from embedder.index.segments import segment_builder
from embedder.index.segments.faiss_index import build
from embedder.index.segments.snapshot_format import HEADER_BYTES
from embedder.index.vector_index import VectorIndex
from tests.unit.index.small_index import merge_all, save, small_settings

COUNT = 200
ROWS = np.random.default_rng(2).normal(0, 1, (COUNT, 4)).astype(np.float32)
COPIES = ROWS.copy()
COPIES[20:120] = COPIES[3]


def _saved(folder: Path, kind: IndexKind, rows: Vectors) -> Path:
    """Write a collection of one saved segment; return its snapshot."""
    index = VectorIndex(small_settings(folder), background=False)
    index.create("c", Spec(Metric.L2, kind=kind))
    names = [f"p{number}" for number in range(COUNT)]
    index.upsert("c", Points(names, rows, [None] * COUNT, [{}] * COUNT))
    merge_all(index, "c")
    save(index, "c")
    index.close()
    (path,) = folder.glob("collections/*/*.snap")
    return path


def _opened(folder: Path) -> tuple[int, list[str]]:
    """Return the points that were read from the store, and those found nearest to row 3."""
    index = VectorIndex(small_settings(folder), background=False)
    (hits,) = index.search([Query("c", ROWS[3], 50)])
    read, damaged = index.stats().recovery.points_from_store, index.stats().damaged_snapshots
    index.close()
    assert damaged == 0
    return read, [hit.id for hit in hits]


def _as_format_1(path: Path) -> None:
    """Change the header of a snapshot to that of the format before nodes."""
    data = bytearray(path.read_bytes())
    header = json.loads(data[16:HEADER_BYTES])
    assert header.pop("nodes") is None
    header["format"] = 1
    text = json.dumps(header).encode().ljust(HEADER_BYTES - 16)
    data[8:16] = len(text).to_bytes(4, "little") + zlib.crc32(text).to_bytes(4, "little")
    data[16:HEADER_BYTES] = text
    path.write_bytes(data)


@pytest.mark.parametrize("kind", [IndexKind.HNSW, IndexKind.IVF_FLAT, IndexKind.IVF_SQ8])
def test_a_snapshot_keeps_the_nodes_of_copies(kind: IndexKind, tmp_path: Path) -> None:
    _saved(tmp_path, kind, COPIES)

    assert _opened(tmp_path) == (0, ["p3", *(f"p{number}" for number in range(20, 69))])


@pytest.mark.parametrize("kind", [IndexKind.FLAT, IndexKind.HNSW, IndexKind.IVF_PQ])
def test_a_snapshot_of_the_first_format_opens(kind: IndexKind, tmp_path: Path) -> None:
    path = _saved(tmp_path, kind, ROWS)
    expected = _opened(tmp_path)
    _as_format_1(path)

    assert _opened(tmp_path) == expected
    assert expected[0] == 0


def test_a_graph_of_the_first_format_with_copies_is_built_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def as_before(*arguments: object) -> tuple[object, None]:
        index, nodes = build(*arguments)  # type: ignore[arg-type] # passed on as they came
        if nodes is not None:
            index.reset()
            index.add(COPIES)
        return index, None

    with monkeypatch.context() as patched:
        patched.setattr(segment_builder, "build", as_before)
        path = _saved(tmp_path, IndexKind.HNSW, COPIES)
    _as_format_1(path)

    assert _opened(tmp_path) == (COUNT, ["p3", *(f"p{number}" for number in range(20, 69))])
