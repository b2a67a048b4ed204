"""Merging keeps segments few and mostly alive, copies each row few times, and ends."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedder.index.contract.kinds import IndexKind
from embedder.index.segments.merge_policy import (
    FAN_OUT,
    REBUILT_PER_S,
    SegmentFacts,
    kind_of_segment,
    needs_merging,
    to_merge,
    to_save,
)
from embedder.settings.model import IndexSettings

SETTINGS = IndexSettings(delta_rows=10, max_dead=0.2, min_indexed_rows=40, auto_hnsw_rows=100)
BUILT = [kind for kind in IndexKind if kind is not IndexKind.AUTO]
FACTS = st.builds(
    lambda kind, rows, share, saved: SegmentFacts(kind, rows, int(rows * share), saved),
    st.sampled_from(BUILT),
    st.integers(1, 100_000),
    st.floats(0, 1),
    st.booleans(),
)


def _merged(segments: list[SegmentFacts], places: list[int], kind: IndexKind) -> list[SegmentFacts]:
    rows = sum(segments[place].rows - segments[place].deleted for place in places)
    kept = [one for place, one in enumerate(segments) if place not in places]
    built = SegmentFacts(kind_of_segment(kind, rows, SETTINGS), rows, 0, False)
    return [*kept, built] if rows else kept


@given(segments=st.lists(FACTS, max_size=30), kind=st.sampled_from(IndexKind))
def test_merging_ends_with_few_segments_that_are_mostly_alive(
    segments: list[SegmentFacts], kind: IndexKind
) -> None:
    for _ in range(200):
        places = to_merge(segments, kind, SETTINGS)
        if not places:
            break
        assert len(set(places)) == len(places)
        segments = _merged(segments, places, kind)
    else:
        raise AssertionError("there is always more to merge")

    assert all(one.deleted < 0.3 * one.rows for one in segments)
    tiers = 1 + math.log(max(sum(one.rows for one in segments), 10) / 10, FAN_OUT)
    assert len(segments) <= FAN_OUT * (tiers + 1)
    for one in segments:
        wanted = kind_of_segment(kind, one.rows - one.deleted, SETTINGS)
        assert one.kind is not IndexKind.FLAT or wanted is IndexKind.FLAT


def test_a_row_is_copied_a_few_times_in_its_life() -> None:
    segments: list[SegmentFacts] = []
    copied = 0
    for _ in range(4096):
        segments.append(SegmentFacts(IndexKind.FLAT, 10, 0, False))
        while places := to_merge(segments, IndexKind.FLAT, SETTINGS):
            copied += sum(segments[place].rows for place in places)
            segments = _merged(segments, places, IndexKind.FLAT)

    assert copied <= 40_960 * (math.log(4096, FAN_OUT) + 1)


def test_all_small_segments_that_have_gathered_are_merged_at_once() -> None:
    small, large = (SegmentFacts(IndexKind.FLAT, rows, 0, False) for rows in (10, 5000))

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
def test_what_a_segment_is_built_as(kind: IndexKind, rows: int, built: IndexKind) -> None:
    assert kind_of_segment(kind, rows, SETTINGS) is built


@given(segments=st.lists(FACTS, max_size=30), recovery_s=st.floats(0.01, 100))
def test_saving_ends_with_a_start_that_is_quick_enough(
    segments: list[SegmentFacts], recovery_s: float
) -> None:
    for _ in range(len(segments) + 1):
        place = to_save(segments, recovery_s)
        if place is None:
            break
        assert not segments[place].saved
        one = segments[place]
        segments[place] = SegmentFacts(one.kind, one.rows, one.deleted, True)

    unsaved = sum(one.rows / REBUILT_PER_S[one.kind] for one in segments if not one.saved)
    assert unsaved <= recovery_s / 2


def test_a_small_flat_segment_is_not_worth_a_file() -> None:
    assert to_save([SegmentFacts(IndexKind.FLAT, 100_000, 0, False)], 5.0) is None
    assert to_save([SegmentFacts(IndexKind.HNSW, 100_000, 0, False)], 5.0) == 0


@pytest.mark.parametrize(
    ("segments", "needed"),
    [
        ([], False),
        ([SegmentFacts(IndexKind.HNSW, 50, 0, True)], False),
        ([SegmentFacts(IndexKind.HNSW, 50, 1, True)], True),
        ([SegmentFacts(IndexKind.FLAT, 50, 0, True)], True),
        ([SegmentFacts(IndexKind.FLAT, 30, 0, True)], False),
        ([SegmentFacts(IndexKind.HNSW, 50, 0, True)] * 2, True),
    ],
)
def test_one_segment_of_the_right_kind_needs_no_merging(
    segments: list[SegmentFacts], needed: bool
) -> None:
    assert needs_merging(segments, IndexKind.HNSW, SETTINGS) is needed
