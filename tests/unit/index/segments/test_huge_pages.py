"""Vectors and graphs are the same on huge pages; a system without them changes nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from embedder.index.contract.kinds import IndexKind
from embedder.index.contract.points import Metric
from embedder.index.segments import huge_pages
from embedder.index.segments.faiss_index import VectorSource, build
from embedder.index.segments.huge_pages import PAGE_BYTES, use_huge_pages
from embedder.settings.model import IndexSettings

WIDTH = 1024
ROWS = 3 * PAGE_BYTES // (4 * WIDTH)


class Libc:
    """Records the advised ranges."""

    def __init__(self) -> None:
        self.advised: list[tuple[int, int, int]] = []

    def madvise(self, start: object, size: object, advice: int) -> int:
        """Record a range, and refuse it, as a system without huge pages does."""
        self.advised.append((getattr(start, "value", 0), getattr(size, "value", 0), advice))
        return -1


@pytest.mark.parametrize("kind", [IndexKind.FLAT, IndexKind.HNSW, IndexKind.IVF_FLAT])
def test_an_index_finds_the_same_on_huge_pages(kind: IndexKind) -> None:
    rows = np.random.default_rng(0).standard_normal((600, 8), np.float32)
    source = VectorSource(len(rows), 8, lambda numbers: rows[numbers])
    index, _ = build(kind, Metric.L2, source, IndexSettings(), lambda: False)
    before = index.search(rows[:5], 3)
    use_huge_pages(index, kind)
    for one, other in zip(before, index.search(rows[:5], 3), strict=True):
        np.testing.assert_array_equal(one, other)


def test_whole_pages_inside_the_vectors_are_advised(monkeypatch: pytest.MonkeyPatch) -> None:
    libc = Libc()
    monkeypatch.setattr(huge_pages, "_libc", lambda: libc)
    monkeypatch.setattr(huge_pages, "_are_allowed", lambda: True)
    rows = np.zeros((ROWS, WIDTH), np.float32)
    source = VectorSource(ROWS, WIDTH, lambda numbers: rows[numbers])
    index, _ = build(IndexKind.FLAT, Metric.L2, source, IndexSettings(), lambda: False)
    use_huge_pages(index, IndexKind.FLAT)
    for start, size, _ in libc.advised:
        assert start % PAGE_BYTES == size % PAGE_BYTES == 0
        assert 2 * PAGE_BYTES <= size <= 3 * PAGE_BYTES
    assert [advice for _, _, advice in libc.advised] == [14, 25]


@pytest.mark.parametrize(("setting", "allowed"), [("always madvise [never]", False), (None, False)])
def test_a_system_without_huge_pages_is_left_alone(
    setting: str | None, allowed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "enabled"
    if setting is not None:
        file.write_text(setting)
    monkeypatch.setattr(huge_pages, "_SETTING", file)
    huge_pages._are_allowed.cache_clear()
    assert huge_pages._are_allowed() is allowed
    huge_pages._are_allowed.cache_clear()
