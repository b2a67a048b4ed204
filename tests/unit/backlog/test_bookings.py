"""The calendar: where a booking goes, who finds it again, and that it never grows."""

from __future__ import annotations

import random

import pytest

from embedder.backlog import bookings as module
from embedder.backlog.bookings import GRACE_S, HORIZON_S, SLOTS_PER_S, Bookings

ROOM = 1000.0
"""Tokens a second; a slot has room for a hundred."""


def book(bookings: Bookings, name: str, tokens: int, now: float, after_s: float = 0) -> int | None:
    """Book by a name."""
    return bookings.book(name.encode(), tokens, tokens_per_s=ROOM, after_s=after_s, now=now)


def test_a_booking_is_a_whole_number_of_seconds_away_and_one_at_least() -> None:
    bookings = Bookings()

    assert book(bookings, "a", 100, 7.35) == 1
    booking = bookings.find(b"a", 7.35)
    assert booking is not None
    assert (booking.tokens, booking.due_s) == (100, 8.35)


@pytest.mark.parametrize(("after_s", "seconds"), [(0.2, 1), (1.0, 1), (1.1, 2), (60, 60)])
def test_nobody_is_told_to_come_before_the_wait_is_over(after_s: float, seconds: int) -> None:
    assert book(Bookings(), "a", 1, 0.0, after_s) == seconds


def test_what_is_full_sends_those_who_ask_at_the_same_moment_a_second_further() -> None:
    bookings = Bookings()

    assert [book(bookings, str(number), 50, 3.05) for number in range(6)] == [1, 1, 2, 2, 3, 3]
    assert book(bookings, "a moment later", 50, 3.15) == 1


def test_those_who_ask_all_the_time_are_spread_evenly() -> None:
    """Were they not, all would come back within a part of each second."""
    bookings, chance = Bookings(), random.Random(2)
    due: list[float] = []
    for number in range(3000):
        now = number / 300
        seconds = book(bookings, str(number), chance.randint(5, 15), now)
        assert seconds is not None
        due.append(now + seconds)

    each = [sum(second <= one < second + 0.25 for one in due) * 10 for second in (5, 8.25, 11.5)]
    assert all(150 <= tokens <= 350 for tokens in each), each


def test_what_is_larger_than_a_slot_takes_up_those_behind() -> None:
    bookings = Bookings()
    book(bookings, "large", 2500, 0.0)

    assert [book(bookings, str(at), 1, at / 10) for at in range(0, 10, 3)] == [4, 4, 3, 3]
    assert bookings.expected(1.0, 1.0) == pytest.approx(1000)


def test_beyond_the_horizon_nothing_is_booked() -> None:
    bookings = Bookings()
    book(bookings, "all", 10**6, 0.0)

    assert book(bookings, "late", 1, 0.0) is None
    assert book(Bookings(), "too long", 1, 0.0, HORIZON_S + 0.5) is None
    assert len(bookings) == 1


def test_a_booking_is_found_until_its_grace_is_over_and_then_it_is_gone() -> None:
    bookings = Bookings()
    book(bookings, "a", 70, 0.5)

    assert bookings.find(b"a", 1.5 + GRACE_S) is not None
    assert bookings.find(b"a", 1.51 + GRACE_S) is None
    assert bookings.tokens(1.8 + GRACE_S) == 0
    assert len(bookings) == 0


def test_whoever_is_claimed_is_awaited_no_more() -> None:
    bookings = Bookings()
    book(bookings, "a", 70, 0.5)
    bookings.claim(b"a")

    assert bookings.find(b"a", 1.5) is None
    assert bookings.tokens(1.5) == 0


def test_whoever_books_anew_loses_the_old_booking() -> None:
    bookings = Bookings()
    book(bookings, "a", 70, 0.5)
    book(bookings, "a", 30, 1.5 + GRACE_S + 0.05)

    assert bookings.tokens(4.0) == 30
    assert bookings.find(b"a", 1.6 + GRACE_S + 0.3) is not None
    assert bookings.tokens(20.0) == 0


def test_as_many_are_expected_as_came_of_those_who_were_due() -> None:
    bookings = Bookings()
    for number in range(100):
        book(bookings, str(number), 10, 0.0 if number < 50 else 0.5)
    everybody = bookings.expected(1.0, 1.0)
    for number in range(0, 100, 4):
        if bookings.find(str(number).encode(), 6.0):
            bookings.claim(str(number).encode())
    bookings.find(b"", 5.0 + GRACE_S)
    for number in range(100):
        book(bookings, f"next {number}", 10, 8.0)

    assert everybody == pytest.approx(200)
    assert bookings.expected(9.0, 1 / SLOTS_PER_S) < 60


def test_the_calendar_never_holds_more_than_its_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_BOOKINGS", 10)
    bookings = Bookings()
    answers = [book(bookings, str(number), 1, 0.0) for number in range(20)]

    assert [answer is None for answer in answers] == [False] * 10 + [True] * 10
    assert book(bookings, "later", 1, 30.0) == 1


def test_nothing_is_left_when_everything_has_passed() -> None:
    bookings = Bookings()
    for number in range(1000):
        book(bookings, str(number), 500, number / 100)
    bookings.find(b"", 10 + 2 * HORIZON_S)

    assert bookings.tokens(1000) == len(bookings) == 0
    assert bookings._booked == {}
    assert bookings._tickets == {}
