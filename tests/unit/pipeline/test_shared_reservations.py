"""Reservations of several ingresses, which send each other their changes."""

from __future__ import annotations

import pickle

import pytest

from embedder.pipeline import reservations as module
from embedder.pipeline.reservations import GRACE_S, Reservations, next_message_s
from tests.unit.pipeline.test_reservations import book


def sharing() -> tuple[Reservations, Reservations]:
    """Return the reservations of two ingresses, which record their changes."""
    one, other = Reservations(), Reservations()
    one.share(lambda: None)
    other.share(lambda: None)
    return one, other


def exchange(one: Reservations, other: Reservations, now: float) -> None:
    """Send the changes of each to the other."""
    changes = one.take_changes(now), other.take_changes(now)
    other.receive(pickle.loads(pickle.dumps(changes[0])), now)
    one.receive(changes[1], now)


def test_a_request_finds_its_reservation_at_another_ingress() -> None:
    one, other = sharing()
    made = book(one, "a", 500, 0.0, after_s=3.0)
    exchange(one, other, 0.1)
    found = other.find(b"a", 0.2)

    assert made is not None
    assert found is not None
    assert (found.ready_s, found.due_s) == pytest.approx((made.ready_s, made.due_s))
    assert other.units(0.2) == 500
    assert other.expected(2.9, 0.5) == one.expected(2.9, 0.5) > 0


def test_times_count_from_the_message_because_clocks_differ() -> None:
    one, other = sharing()
    book(one, "a", 500, 10.0, after_s=3.0)
    other.receive(one.take_changes(10.5), 1000.0)
    found = other.find(b"a", 1000.0)

    assert found is not None
    assert found.ready_s == pytest.approx(1002.5)


def test_a_request_that_has_returned_is_forgotten_by_all_ingresses() -> None:
    one, other = sharing()
    book(one, "a", 500, 0.0)
    exchange(one, other, 0.0)
    other.claim(b"a")
    exchange(one, other, 1.0)

    for reservations in (one, other):
        assert reservations.find(b"a", 1.0) is None
        assert reservations.units(1.0) == reservations.count == 0
        assert reservations._return_share == 1.0
        assert reservations._due == {}


def test_a_reservation_that_was_made_and_ended_between_messages_ends_everywhere() -> None:
    one, other = sharing()
    book(one, "a", 500, 0.0)
    one.claim(b"a")
    exchange(one, other, 1.0)

    assert other.count == 0


def test_the_end_of_an_unknown_reservation_is_ignored() -> None:
    one, other = sharing()
    book(one, "a", 500, 0.0)
    one.take_changes(0.0)  # lost
    one.claim(b"a")
    exchange(one, other, 1.0)

    assert other.count == 0


def test_an_ingress_that_starts_gets_the_whole_queue() -> None:
    one, other = sharing()
    for number in range(5):
        book(one, str(number), 1000, 0.0)
    one.claim(b"1")
    other.receive(one.all_as_changes(0.5), 0.5)
    last = [book(reservations, "last", 1, 0.5) for reservations in (one, other)]

    assert one.units(0.5) == other.units(0.5) == 4001
    assert other.find(b"1", 0.5) is None
    assert [made.ready_s for made in last if made is not None] == pytest.approx([5.0, 5.0])
    assert not Reservations().all_as_changes(0.0)


def test_received_reservations_expire() -> None:
    one, other = sharing()
    book(one, "a", 500, 0.0)
    exchange(one, other, 0.0)
    later = 1.0 + GRACE_S + 0.1

    assert one.units(later) == other.units(later) == 0
    assert one.count == other.count == 0
    assert other._return_share < 1.0


def test_a_process_stores_a_bounded_number_of_received_reservations(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "MAX_RESERVATIONS", 3)
    one, other = sharing()
    for number in range(3):
        book(one, f"one {number}", 1, 0.0)
        book(other, f"other {number}", 1, 0.0)
    exchange(one, other, 0.0)

    assert one.count == other.count == 3


def test_changes_are_recorded_only_while_they_are_shared() -> None:
    notified: list[None] = []
    reservations = Reservations()
    book(reservations, "before", 1, 0.0)
    reservations.share(lambda: notified.append(None))
    book(reservations, "during", 1, 0.0)
    reservations.claim(b"before")
    recorded = reservations.take_changes(0.0)
    book(reservations, "lost", 1, 0.0)
    reservations.share(None)
    book(reservations, "after", 1, 0.0)

    assert [token for token, *_ in recorded.added] == [b"during"]
    assert recorded.ended == [b"before"]
    assert len(notified) == 3
    assert not reservations.take_changes(0.0)


def test_messages_follow_each_other_more_and_more_slowly() -> None:
    pauses = [next_message_s(8)]
    for _ in range(20):
        pauses.append(next_message_s(8, pauses[-1]))

    assert pauses == sorted(pauses)
    assert pauses[0] == module.FIRST_MESSAGE_S
    assert sum(pauses[:6]) < 1.0
    assert pauses[-1] == module.MAX_MESSAGE_S


@pytest.mark.parametrize("ingresses", [2, 8, 32, 100, 1000])
def test_messages_take_a_bounded_part_of_the_time_of_each_ingress(ingresses: int) -> None:
    received_per_s = ingresses / next_message_s(ingresses)

    assert received_per_s <= 250
    assert next_message_s(ingresses, 100.0) >= next_message_s(ingresses)
