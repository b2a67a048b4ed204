"""The record of clients notices lost, half applied, repeated and resurrected writes."""

from __future__ import annotations

import pytest

from tests.unit.index.faults.client_record import ClientRecord, Seen
from tests.unit.index.faults.steps import Step

A: Step = ["upsert", [["w-1", [1]], ["w-2", [1]], ["all-1", [1]]]]
B: Step = ["upsert", [["w-1", [2]], ["w-2", [2]]]]
GONE: Step = ["delete", ["w-1", "w-2", "all-1"]]


def _seen(**stored: int) -> Seen:
    return {"c": {name.replace("_", "-"): [value] for name, value in stored.items()}}


def _recorded(*answers: tuple[str, Step, int | None]) -> ClientRecord:
    record = ClientRecord()
    for client, step, number in answers:
        record.begin(client, step)
        if number:
            record.acknowledge(client, number)
        else:
            record.leave_open(client)
    return record


def test_an_acknowledged_write_is_expected() -> None:
    record = _recorded(("w", A, 1))
    record.check(_seen(w_1=1, w_2=1, all_1=1))
    for wrong in (_seen(), _seen(w_1=1, all_1=1), _seen(w_1=1, w_2=1), _seen(w_1=1, w_2=2)):
        with pytest.raises(AssertionError):
            record.check(wrong)


def test_an_unanswered_write_is_applied_completely_or_not_at_all() -> None:
    answers = ("w", A, 1), ("w", B, None)
    for possible in (1, 2):
        _recorded(*answers).check(_seen(w_1=possible, w_2=possible, all_1=1))
    with pytest.raises(AssertionError):
        _recorded(*answers).check(_seen(w_1=1, w_2=2, all_1=1))


def test_an_unanswered_write_is_not_undone_after_it_was_seen() -> None:
    record = _recorded(("w", A, 1), ("w", B, None))
    record.check(_seen(w_1=2, w_2=2, all_1=1))
    with pytest.raises(AssertionError):
        record.check(_seen(w_1=1, w_2=1, all_1=1))


def test_a_deleted_point_stays_deleted() -> None:
    record = _recorded(("w", A, None), ("w", A, 2), ("w", GONE, 3))
    record.check(_seen())
    with pytest.raises(AssertionError):
        record.check(_seen(w_1=1, w_2=1, all_1=1))


def test_of_writes_to_shared_ids_the_highest_number_decides() -> None:
    other: Step = ["upsert", [["all-1", [7]]]]
    _recorded(("x", other, 5), ("w", A, 4)).check(_seen(w_1=1, w_2=1, all_1=7))
    with pytest.raises(AssertionError):
        _recorded(("x", other, 5), ("w", A, 4)).check(_seen(w_1=1, w_2=1, all_1=1))
    for possible in (1, 7):
        _recorded(("x", other, None), ("w", A, 4)).check(_seen(w_1=1, w_2=1, all_1=possible))


def test_numbers_ascend_and_are_distinct() -> None:
    with pytest.raises(AssertionError, match="two writes"):
        _recorded(("w", A, 1), ("x", B, 1))
    with pytest.raises(AssertionError, match="after"):
        _recorded(("w", A, 2), ("w", B, 1))
