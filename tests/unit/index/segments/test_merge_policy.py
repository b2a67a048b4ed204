"""Merging ends with few segments of mostly live rows, and copies each row a few times."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedder.index.contract.kinds import IndexKind
from embedder.index.contract.points import Metric
from embedder.index.segments.merge_policy import (
    FAN_OUT,
    REBUILT_PER_S,
    kind_of_segment,
    to_merge,
    to_save,
)
from embedder.index.segments.segment import PackedIds, Segment
from embedder.settings.model import IndexSettings

SETTINGS = IndexSettings(
    delta_rows=10, max_deleted_share=0.2, min_indexed_rows=40, auto_hnsw_rows=100
)
SAVED = Path("segment.snap")
BUILT = [kind for kind in IndexKind if kind is not IndexKind.AUTO]


def _segment(kind: IndexKind, rows: int, deleted: int, saved: bool) -> Segment:
    """Return a segment without vectors."""
    pks = np.broadcast_to(np.int64(0), rows)
    path = SAVED if saved else None
    ids = PackedIds(b"", pks)
    return Segment(None, kind, Metric.L2, pks, pks, ids, None, path, deleted=deleted)


SEGMENTS = st.builds(
    lambda kind, rows, share, saved: _segment(kind, rows, int(rows * share), saved),
    st.sampled_from(BUILT),
    st.integers(1, 100_000),
    st.floats(0, 1),
    st.booleans(),
)


def _merged(segments: list[Segment], numbers: list[int], kind: IndexKind) -> list[Segment]:
    rows = sum(segments[number].count for number in numbers)
    kept = [one for number, one in enumerate(segments) if number not in numbers]
    built = _segment(kind_of_segment(kind, rows, SETTINGS), rows, 0, False)
    return [*kept, built] if rows else kept


@given(segments=st.lists(SEGMENTS, max_size=30), kind=st.sampled_from(IndexKind))
def test_merging_ends_with_few_segments_of_mostly_live_rows(
    segments: list[Segment], kind: IndexKind
) -> None:
    for _ in range(200):
        numbers = to_merge(segments, kind, SETTINGS)
        if not numbers:
            break
        assert len(set(numbers)) == len(numbers)
        segments = _merged(segments, numbers, kind)
    else:
        raise AssertionError("merging does not end")

    assert all(one.deleted < 0.3 * len(one) for one in segments)
    tiers = 1 + math.log(max(sum(len(one) for one in segments), 10) / 10, FAN_OUT)
    assert len(segments) <= FAN_OUT * (tiers + 1)
    for one in segments:
        wanted = kind_of_segment(kind, one.count, SETTINGS)
        assert one.kind is not IndexKind.FLAT or wanted is IndexKind.FLAT


def test_a_row_is_copied_a_few_times() -> None:
    segments: list[Segment] = []
    copied = 0
    for _ in range(4096):
        segments.append(_segment(IndexKind.FLAT, 10, 0, False))
        while numbers := to_merge(segments, IndexKind.FLAT, SETTINGS):
            copied += sum(len(segments[number]) for number in numbers)
            segments = _merged(segments, numbers, IndexKind.FLAT)

    assert copied <= 40_960 * (math.log(4096, FAN_OUT) + 1)


def test_all_segments_of_a_full_tier_are_merged_at_once() -> None:
    small, large = (_segment(IndexKind.FLAT, rows, 0, False) for rows in (10, 5000))

    assert to_merge([large, *[small] * 9], IndexKind.FLAT, SETTINGS) == list(range(1, 10))
    assert to_merge([large, *[small] * 3], IndexKind.FLAT, SETTINGS) == []


@pytest.mark.parametrize(
    ("kind", "rows", "built"),
    [
        (IndexKind.AUTO, 99, IndexKind.FLAT),
        (IndexKind.AUTO, 100, IndexKind.HNSW),
        (IndexKind.FLAT, 10**6, IndexKind.FLAT),
        (IndexKind.HNSW, 39, IndexKind.FLAT),
        (IndexKind.HNSW, 40, IndexKind.HNSW),
        (IndexKind.IVF_SQ8, 40, IndexKind.IVF_SQ8),
        (IndexKind.IVF_PQ, 255, IndexKind.FLAT),
        (IndexKind.IVF_PQ, 256, IndexKind.IVF_PQ),
    ],
)
def test_the_number_of_rows_decides_the_kind_of_a_segment(
    kind: IndexKind, rows: int, built: IndexKind
) -> None:
    assert kind_of_segment(kind, rows, SETTINGS) is built


@given(segments=st.lists(SEGMENTS, max_size=30), recovery_s=st.floats(0.01, 100))
def test_saving_ends_when_a_start_is_fast_enough(
    segments: list[Segment], recovery_s: float
) -> None:
    for _ in range(len(segments) + 1):
        number = to_save(segments, recovery_s)
        if number is None:
            break
        assert segments[number].path is None
        one = segments[number]
        segments[number] = replace(one, path=SAVED)

    unsaved = sum(len(one) / REBUILT_PER_S[one.kind] for one in segments if one.path is None)
    assert unsaved <= recovery_s / 2


def test_a_flat_segment_that_is_fast_to_rebuild_is_not_saved() -> None:
    assert to_save([_segment(IndexKind.FLAT, 100_000, 0, False)], 5.0) is None
    assert to_save([_segment(IndexKind.HNSW, 100_000, 0, False)], 5.0) == 0
