"""Reservations of refused requests: their times, how they are found again, and their bounds."""

from __future__ import annotations

import heapq
import random
from typing import Any

import pytest

from embedder.pipeline import reservations as module
from embedder.pipeline.reservations import GRACE_S, MAX_RETRY_AFTER_S, Reservation, Reservations

RATE = 1000.0


def book(
    reservations: Reservations, name: str, units: int, now: float, after_s: float = 0.0
) -> Reservation | None:
    """Add a reservation under a name."""
    return reservations.add(name.encode(), units, units_per_s=RATE, after_s=after_s, now=now)


def ready_times(
    reservations: Reservations, *sizes: int, now: float = 0.0, after_s: float = 0.0
) -> list[Any]:
    """Add reservations of several sizes; return in how many seconds they are ready."""
    made = [book(reservations, f"{now} {at}", size, now, after_s) for at, size in enumerate(sizes)]
    return [pytest.approx(one.ready_s - now) for one in made if one is not None]


def test_a_reservation_is_ready_when_all_work_before_it_is_done() -> None:
    reservations = Reservations()

    assert ready_times(reservations, 100, 500, 1400, 7, after_s=0.3) == [0.3, 0.4, 0.9, 2.3]
    assert ready_times(reservations, 1, now=1.0) == [1.307], "also for later requests"
    assert ready_times(reservations, 1, now=5.0) == [0.0], "after all reservations are over"


def test_reservations_are_due_after_whole_seconds_and_soon_after_they_are_ready() -> None:
    reservations, now = Reservations(), 7.35
    made = [book(reservations, str(number), 50, now) for number in range(100)]

    for one in made:
        assert one is not None
        assert one.due_s - now == pytest.approx(round(one.due_s - now))
        assert one.due_s - now + 1e-9 >= 1.0
        assert 0.0 <= one.due_s - one.ready_s <= 2.0


def test_whole_seconds_bunch_steady_requests_only_a_little() -> None:
    """With the next whole second alone, twice the capacity would return at times."""
    reservations, chance = Reservations(), random.Random(2)
    waiting: list[tuple[float, bytes]] = []
    due: list[float] = []
    for number in range(3000):
        now = number / 300
        while waiting and waiting[0][0] <= now:
            reservations.claim(heapq.heappop(waiting)[1])
        reservation = book(reservations, str(number), chance.randint(5, 15), now)
        assert reservation is not None
        due.append(reservation.due_s)
        heapq.heappush(waiting, (reservation.due_s, reservation.retry_token))

    halves = [sum(at / 2 <= one < (at + 1) / 2 for one in due) * 10 for at in range(4, 58)]
    assert max(halves) <= 1.7 * RATE / 2
    assert sum(halves) == pytest.approx(27_000, rel=0.1)


def test_no_reservation_is_made_beyond_the_maximum_time() -> None:
    reservations = Reservations()
    book(reservations, "all", 10**6, 0.0)

    assert book(reservations, "late", 1, 0.0) is None
    assert book(Reservations(), "too long", 1, 0.0, MAX_RETRY_AFTER_S + 0.5) is None
    assert reservations.count == 1


def test_a_reservation_is_found_until_its_grace_time_is_over() -> None:
    reservations = Reservations()
    book(reservations, "a", 70, 0.5)

    assert reservations.find(b"a", 1.5 + GRACE_S) is not None
    assert reservations.find(b"a", 1.51 + GRACE_S) is None
    assert reservations.units(1.8 + GRACE_S) == 0
    assert reservations.count == 0


def test_a_reservation_without_units_expires_like_others() -> None:
    reservations = Reservations()
    for name, units in (("a", 5), ("b", 0), ("c", 0)):
        book(reservations, name, units, 0.5)

    assert reservations.find(b"b", 1.0) is not None
    assert reservations.find(b"b", 20.0) is None
    assert reservations.count == 0


def test_a_claimed_reservation_is_removed() -> None:
    reservations = Reservations()
    book(reservations, "a", 70, 0.5)
    reservations.claim(b"a")

    assert reservations.find(b"a", 1.5) is None
    assert reservations.units(1.5) == 0
    assert reservations.expected(1.0, 5.0) == 0


def test_reservations_of_one_token_are_claimed_in_their_order() -> None:
    reservations = Reservations()
    first, second = book(reservations, "a", 70, 0.5), book(reservations, "a", 30, 0.6)

    assert (reservations.count, reservations.units(0.7)) == (2, 100)
    assert reservations.find(b"a", 0.7) is first
    reservations.claim(b"a")
    assert reservations.find(b"a", 0.7) is second
    assert (reservations.count, reservations.units(0.7)) == (1, 30)
    assert reservations.find(b"a", 20.0) is None
    assert reservations.count == 0


def test_the_expected_share_is_the_share_that_returned_lately() -> None:
    reservations = Reservations()
    for tick in range(400):
        now = tick / 10
        for number in range(4):
            book(reservations, f"{tick} {number}", 25, now)
        if tick > 20 and reservations.find(f"{tick - 20} 0".encode(), now):
            reservations.claim(f"{tick - 20} 0".encode())
    due = sum(
        one.units for one in reservations._queue if not one.ended and 40.0 <= one.due_s < 41.0
    )

    assert due > 0
    assert reservations.expected(40.0, 1.0) == pytest.approx(due / 4, rel=0.2)


def test_work_that_never_returns_takes_little_capacity() -> None:
    reservations = Reservations()
    book(reservations, "lost", 5000, 0.0)
    reservations.find(b"", 1.1 + GRACE_S)
    now = 10.0

    assert ready_times(reservations, 1000, 1000, 1000, now=now) == [0.0, 0.1, 0.2]


def test_the_number_of_reservations_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_RESERVATIONS", 10)
    reservations = Reservations()
    answers = [book(reservations, str(number), 1, 0.0) for number in range(20)]

    assert [answer is None for answer in answers] == [False] * 10 + [True] * 10
    assert book(reservations, "later", 1, 30.0) is not None


def test_nothing_is_left_when_all_reservations_have_expired() -> None:
    reservations = Reservations()
    for number in range(1000):
        book(reservations, str(number), 500, number / 100)
    reservations.find(b"", 10 + 2 * MAX_RETRY_AFTER_S)

    assert reservations.units(1000.0) == reservations.count == 0
    assert reservations._due == {}
    assert len(reservations._queue) == 0
