"""Hits are likely after many hits; after many misses small lookups are skipped."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from embedder.cache.hit_ratio import FIRST, MANY, SAMPLE, SAMPLE_OF_MANY, HitRatio


@given(st.lists(st.integers(0, 4), max_size=30))
def test_the_last_lookups_decide(before: list[int]) -> None:
    share = HitRatio()
    for found in before:
        share.learn(found, 4)
    for _ in range(20):
        share.learn(4, 4)
    after_hits = share.hit_is_likely
    for _ in range(20):
        share.learn(0, 4)

    assert after_hits
    assert not share.hit_is_likely


def test_no_hit_is_likely_before_the_first_lookup() -> None:
    assert not HitRatio().hit_is_likely


@given(st.integers(0, FIRST - 1), st.integers(1, 100))
def test_the_first_lookups_are_all_sent(misses: int, keys: int) -> None:
    assert _after(misses).lookup_pays(keys)


def test_without_hits_a_sample_of_the_small_lookups_is_sent() -> None:
    share = _after(200)
    made = [share.lookup_pays(1) for _ in range(10 * SAMPLE)]

    assert sum(made) == 10
    assert sum(share.lookup_pays(MANY) for _ in range(10 * SAMPLE_OF_MANY)) == 10
    assert sum(share.lookup_pays(MANY - 1) for _ in range(10 * SAMPLE)) == 10


def test_a_hit_restores_lookups_until_many_misses() -> None:
    share = _after(200)
    share.learn(1, 1)
    asked = 0
    while share.lookup_pays(1):
        share.learn(0, 1)
        asked += 1

    assert 10 <= asked <= 30


def _after(misses: int) -> HitRatio:
    share = HitRatio()
    for _ in range(misses):
        share.learn(0, 1)
    return share
