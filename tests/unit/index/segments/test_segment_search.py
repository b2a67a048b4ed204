"""A segment finds its nearest allowed rows as brute force does, with copies and deleted rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedder.core.types import Vectors
from embedder.index.contract.kinds import OVERFETCH, IndexKind
from embedder.index.contract.points import Metric
from embedder.index.segments.segment import Segment
from embedder.index.segments.segment_builder import SegmentBuilder
from embedder.index.segments.segment_search import SegmentSearch
from embedder.settings.model import IndexSettings
from tests.unit.index.brute_force import scores

WIDTH = 3
SETTINGS = IndexSettings(min_indexed_rows=1)
KINDS = [kind for kind in IndexKind if kind is not IndexKind.AUTO]


def _segment(kind: IndexKind, metric: Metric, rows: Vectors) -> Segment:
    """Return one segment of rows whose pks are ten times their numbers."""
    builder = SegmentBuilder(kind, metric, rows.shape[1], SETTINGS, lambda: False)
    pks = 10 * np.arange(len(rows))
    flat = builder.build_flat(pks, pks, [str(pk) for pk in pks], lambda numbers: rows[numbers])
    merged = builder.merge([flat], lambda pks: rows[pks // 10])
    assert merged is not None
    return merged


def _few(seed: int) -> Vectors:
    """Return eight vectors whose products are exact in float32."""
    return (np.random.default_rng(seed).integers(-8, 9, (8, WIDTH)) / 4).astype(np.float32)


@given(data=st.data(), metric=st.sampled_from([Metric.DOT, Metric.L2]))
@pytest.mark.parametrize("kind", KINDS)
def test_a_filtered_search_finds_the_rows_of_brute_force(
    kind: IndexKind, data: st.DataObject, metric: Metric
) -> None:
    count = data.draw(st.integers(1, 300))
    chosen = np.random.default_rng(data.draw(st.integers(0, 99))).integers(0, 8, count)
    rows = _few(1)[chosen]
    segment = _segment(kind, metric, rows)
    deleted = data.draw(st.sets(st.integers(0, count - 1), min_size=1))
    segment = segment.delete(10 * np.array(sorted(deleted)))
    live = np.setdiff1d(np.arange(count), sorted(deleted))
    allowed = live[: data.draw(st.integers(0, len(live)))] if data.draw(st.booleans()) else None
    kept, k = live if allowed is None else allowed, data.draw(st.integers(1, 40))
    query = _few(2)[[data.draw(st.integers(0, 7))]]
    found_scores, at = SegmentSearch(
        segment, allowed, SETTINGS, lambda pks: rows[pks // 10]
    ).nearest(query, k, k + 8)
    exact = scores(metric, query[0], rows)

    found = at[0][:k]
    assert len({*found.tolist()}) == len(found) == min(k, len(kept))
    assert {*found.tolist()} <= {*kept.tolist()}
    np.testing.assert_allclose(exact[found], -np.sort(-exact[kept])[:k], atol=1e-5)
    assert (np.diff(found_scores[0]) <= 1e-5).all()
    if segment.kind is not IndexKind.FLAT:
        for vector in {*chosen[found].tolist()}:
            copies = found[chosen[found] == vector]
            expected = kept[chosen[kept] == vector][: len(copies)]
            assert {*copies.tolist()} == {*expected.tolist()}


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind is not IndexKind.FLAT])
@pytest.mark.parametrize("metric", [Metric.COSINE, Metric.L2])
def test_copies_share_one_vector_of_the_index(kind: IndexKind, metric: Metric) -> None:
    rows = np.random.default_rng(3).normal(0, 1, (1200, 8)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    rows[100:1100] = rows[7]
    segment = _segment(kind, metric, rows)

    assert segment.index.ntotal == 200
    assert len(segment) == 1200
    if (vectors := segment.vectors(np.arange(1200))) is not None:
        np.testing.assert_array_equal(vectors, rows)
    search = SegmentSearch(segment, None, SETTINGS, lambda pks: rows[pks // 10])
    _, at = search.nearest(rows[[7, 0]], 50, 50)
    assert at[0].tolist() == [7, *range(100, 149)]
    assert at[1, 0] == 0


def test_no_kind_needs_as_many_distinct_rows_as_it_trains_with() -> None:
    rows = np.repeat(np.eye(3, dtype=np.float32), 200, axis=0)
    for kind in KINDS:
        segment = _segment(kind, Metric.L2, rows)
        search: Any = SegmentSearch(segment, None, SETTINGS, lambda pks: rows[pks // 10])
        assert search.nearest(rows[:1], 5, 5)[1].max() < 200


@pytest.mark.parametrize("kind", KINDS)
def test_a_search_for_a_large_part_of_the_rows_finds_nearly_all_of_them(kind: IndexKind) -> None:
    rows = np.random.default_rng(5).normal(0, 1, (4_000, 8)).astype(np.float32)
    segment, k = _segment(kind, Metric.L2, rows), 400
    exact = np.argsort(-scores(Metric.L2, rows[0], rows))[:k]
    search = SegmentSearch(segment, None, SETTINGS, lambda pks: rows[pks // 10])
    _, at = search.nearest(rows[:1], k, k * OVERFETCH.get(kind, 1))

    assert len(np.intersect1d(at[0], exact)) >= 0.95 * k
