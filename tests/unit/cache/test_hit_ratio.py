"""Hits are likely after many of them, no more after many misses, and then not asked for."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from embedder.cache.hit_ratio import FIRST, MANY, SAMPLE, HitRatio


@given(st.lists(st.integers(0, 4), max_size=30))
def test_the_last_lookups_decide_whatever_was_before(before: list[int]) -> None:
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


def test_nothing_is_likely_before_anything_was_asked() -> None:
    assert not HitRatio().hit_is_likely


@given(st.integers(0, FIRST - 1), st.integers(1, 100))
def test_the_first_lookups_are_all_made(misses: int, keys: int) -> None:
    assert _after(misses).lookup_pays(keys)


def test_where_nothing_is_ever_found_one_in_so_many_lookups_of_few_keys_is_made() -> None:
    share = _after(200)
    made = [share.lookup_pays(1) for _ in range(10 * SAMPLE)]

    assert sum(made) == 10
    assert all(share.lookup_pays(MANY) for _ in range(100))


def test_a_find_brings_lookups_back_until_nothing_is_found_for_long() -> None:
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
