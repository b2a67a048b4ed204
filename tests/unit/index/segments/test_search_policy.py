"""A search asks the index for more candidates, or makes an exact pass, whichever is faster."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedder.index.contract.kinds import INVERTED, IndexKind
from embedder.index.segments.search_policy import (
    SegmentSizes,
    candidates_to_fetch,
    effort,
    exact_cost,
    search_cost,
)

MOST_TIMES_EXACT = 4
"""Upper bound on the cost of all attempts and the exact pass, beside that of the pass alone."""


def _sizes(kind: IndexKind, vectors: int, share: float, effort_share: float) -> SegmentSizes:
    allowed = max(1, int(share * vectors))
    lists = max(1, int(4 * vectors**0.5)) if kind in INVERTED else 0
    least = max(1, int(effort_share * lists)) if lists else 64
    return SegmentSizes(kind, vectors, allowed, lists, least)


SIZES = st.builds(
    _sizes,
    st.sampled_from([kind for kind in IndexKind if kind is not IndexKind.AUTO]),
    st.integers(1, 10**7),
    st.floats(0, 1),
    st.floats(0.01, 0.2),
)
WANTED = st.integers(1, 10_000)
SHARES = st.floats(0, 1)


def _microseconds(sizes: SegmentSizes, fetched: int) -> tuple[float, float]:
    """Return the measured times of a search for candidates and of an exact pass."""
    if not sizes.lists:
        exact = 0.002 * sizes.vectors + 0.087 * sizes.allowed
        return 3.0 * effort(sizes, fetched), exact
    a_row = 0.075 if sizes.kind is IndexKind.IVF_FLAT else 0.05
    read = a_row * sizes.vectors * effort(sizes, fetched) / sizes.lists
    return read, 0.007 * sizes.vectors + (a_row + 0.005) * sizes.allowed


@given(sizes=SIZES, wanted=WANTED, share=SHARES)
def test_the_choice_is_the_faster_one_by_the_measured_times(
    sizes: SegmentSizes, wanted: int, share: float
) -> None:
    fetched = candidates_to_fetch(sizes, wanted, share)
    if sizes.kind is IndexKind.FLAT:
        assert fetched == 0
    elif fetched:
        by_index, exact = _microseconds(sizes, fetched)
        assert by_index < 1.7 * exact
        assert wanted <= fetched * share + 1e-6
        assert fetched < sizes.vectors


@given(sizes=SIZES, wanted=WANTED, share=SHARES, more=st.floats(1, 10))
def test_a_dearer_exact_pass_never_makes_a_search_do_one(
    sizes: SegmentSizes, wanted: int, share: float, more: float
) -> None:
    dearer = replace(sizes, allowed=int(sizes.allowed * more))
    fetched = candidates_to_fetch(sizes, wanted, share)

    assert fetched in (0, candidates_to_fetch(dearer, wanted, share))


@given(sizes=SIZES, wanted=WANTED, found=st.floats(0, 0.999))
def test_attempts_that_find_too_few_end_soon(
    sizes: SegmentSizes, wanted: int, found: float
) -> None:
    share, fetched, spent = sizes.allowed / sizes.vectors, 0, 0.0
    while fetched := candidates_to_fetch(sizes, wanted, share, fetched):
        spent += search_cost(sizes, fetched)
        share = found * wanted / fetched

    assert spent + exact_cost(sizes) <= MOST_TIMES_EXACT * exact_cost(sizes)


@pytest.mark.parametrize(
    ("kind", "allowed", "by_index"),
    [
        (IndexKind.HNSW, 30_000, True),
        (IndexKind.HNSW, 3_000, False),
        (IndexKind.HNSW, 60, False),
        (IndexKind.IVF_FLAT, 30_000, True),
        (IndexKind.IVF_FLAT, 3_000, False),
        (IndexKind.IVF_PQ, 60, False),
    ],
)
def test_a_filter_that_keeps_few_of_60_000_points_is_answered_exactly(
    kind: IndexKind, allowed: int, by_index: bool
) -> None:
    sizes = _sizes(kind, 60_000, allowed / 60_000, 1 / 8)

    assert (candidates_to_fetch(sizes, 10, allowed / 60_000) > 0) is by_index
    assert candidates_to_fetch(sizes, 10, 0.0, 64) == 0
