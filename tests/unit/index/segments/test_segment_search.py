"""A segment finds its nearest allowed rows as brute force does, also after deletions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedder.core.types import Vectors
from embedder.index.contract.kinds import IndexKind
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
