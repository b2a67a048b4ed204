"""Collections of every size are filled and searched, on a few points."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.scaling import index_axis
from benchmarks.scaling.index_axis import QUERIES_SEED, SIZES, build, by_points
from embedder.index.contract.kinds import IndexKind
from embedder.index.vector_index import VectorIndex
from embedder.settings.model import IndexSettings
from tests.unit.benchmarks.scaling.outcomes import quick

WIDTH = 8


@pytest.fixture
def index(tmp_path: Path) -> Iterator[VectorIndex]:
    settings = IndexSettings(directory=str(tmp_path), min_indexed_rows=50)
    opened = VectorIndex(settings, background=False)
    yield opened
    opened.close()


def test_each_kind_has_a_series_of_its_sizes(index: VectorIndex) -> None:
    reported: list[str] = []
    sizes = {IndexKind.FLAT: (100, 200), IndexKind.HNSW: (100, 200)}

    flat, hnsw = by_points(
        index, sizes, WIDTH, quick(), lambda place, value: reported.append(place)
    )

    assert (flat.name, hnsw.name) == ("flat", "hnsw")
    for series in (flat, hnsw):
        assert [point.x for point in series.points] == [100, 200]
        assert all(len(point.rounds) == 2 and min(point.rounds) > 0 for point in series.points)
    assert sorted(reported) == sorted(["flat-100", "flat-200", "hnsw-100", "hnsw-200"] * 2)


def test_points_that_are_made_in_parts_are_all_there(
    index: VectorIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index_axis, "PART", 40)
    build(index, "some", IndexKind.FLAT, 100, WIDTH)

    assert index.count("some") == 100


def test_queries_are_no_points() -> None:
    starts = {
        start
        for counts in SIZES.values()
        for count in counts
        for start in range(0, count, index_axis.PART)
    }

    assert QUERIES_SEED not in starts
