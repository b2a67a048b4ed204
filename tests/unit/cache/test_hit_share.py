"""Hits are likely after many of them, and no more after many misses."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from embedder.cache.hit_share import HitShare


@given(st.lists(st.integers(0, 4), max_size=30))
def test_the_last_lookups_decide_whatever_was_before(before: list[int]) -> None:
    share = HitShare()
    for found in before:
        share.learn(found, 4)
    for _ in range(20):
        share.learn(4, 4)
    after_hits = share.are_likely
    for _ in range(20):
        share.learn(0, 4)

    assert after_hits
    assert not share.are_likely


def test_nothing_is_likely_before_anything_was_asked() -> None:
    assert not HitShare().are_likely
