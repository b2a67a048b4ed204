"""A record is written once in a period, and its repetitions are counted, whatever comes between."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from deployments.logs.repeats import Repeats

PERIOD_S = 10.0


def test_the_first_is_written_and_those_after_it_are_counted_until_the_period_ends() -> None:
    repeats = Repeats(PERIOD_S)
    written = [repeats.admit("a", "title of a", now) for now in (0.0, 1.0, 9.9)]
    before, after = repeats.ended(9.999), repeats.ended(10.0)

    assert written == [True, False, False]
    assert before == []
    assert [(one.title, one.began, one.count) for one in after] == [("title of a", 0.0, 2)]
    assert repeats.admit("a", "title of a", 10.0)


def test_a_record_that_was_not_repeated_is_not_reported() -> None:
    repeats = Repeats(PERIOD_S)
    repeats.admit("a", "a", 0.0)

    assert repeats.ended(100.0) == []


def test_beyond_the_number_that_is_kept_the_oldest_is_reported() -> None:
    repeats = Repeats(PERIOD_S, kept=2)
    for key in ("a", "a", "b", "c"):
        repeats.admit(key, key, 0.0)

    assert [(one.title, one.count) for one in repeats.ended(0.0)] == [("a", 1)]
    assert not repeats.admit("b", "b", 0.0)
    assert repeats.admit("a", "a", 0.0)


@given(
    st.lists(st.tuples(st.sampled_from("abcd"), st.floats(0, 8)), max_size=60),
    st.integers(1, 4),
)
def test_every_record_is_written_or_counted(events: list[tuple[str, float]], kept: int) -> None:
    repeats, now = Repeats(PERIOD_S, kept), 0.0
    seen: Counter[str] = Counter()
    for key, pause_s in events:
        now += pause_s
        for one in repeats.ended(now):
            seen[one.title] += one.count
        seen[key] += repeats.admit(key, key, now)
    for one in repeats.ended(now + 2 * PERIOD_S):
        seen[one.title] += one.count

    assert seen == Counter(key for key, _ in events)
