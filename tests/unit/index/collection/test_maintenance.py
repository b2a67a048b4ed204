"""One thread serves all collections in turn, and no failure of one stops the others."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from embedder.core.storage_errors import StorageDamaged
from embedder.index.collection import maintenance
from embedder.index.collection.maintenance import MaintenanceThread


class Work:
    """So many pieces of work, each of which is noted in a common list."""

    def __init__(self, name: str, pieces: int, done: list[str], ready: threading.Event) -> None:
        self.name, self.left, self.done, self.ready = name, pieces, done, ready

    def maintain(self) -> bool:
        """Do one piece."""
        assert self.ready.wait(10)
        if not self.left:
            return False
        self.left -= 1
        self.done.append(self.name)
        return True


class Failing:
    """Fails so many times, then tells that it was reached."""

    def __init__(self, *errors: Exception) -> None:
        self.errors, self.reached = list(errors), threading.Event()

    def maintain(self) -> bool:
        """Fail, or be reached."""
        if self.errors:
            raise self.errors.pop(0)
        self.reached.set()
        return False


def _until(holds: Callable[[], bool]) -> None:
    for _ in range(1000):
        if holds():
            return
        threading.Event().wait(0.01)
    raise AssertionError("it never holds")


def test_every_collection_has_its_turn_between_the_pieces_of_the_others() -> None:
    done, ready = list[str](), threading.Event()
    keeper = MaintenanceThread(lambda error: None)
    works = [Work(name, pieces, done, ready) for name, pieces in (("a", 5), ("b", 2), ("c", 1))]
    for work in works:
        keeper.notify(work)
        keeper.notify(work)
    ready.set()
    _until(lambda: len(done) == 8)
    keeper.close()

    assert done == ["a", "b", "c", "a", "b", "a", "a", "a"]


def test_work_that_the_disk_refused_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maintenance, "RETRY_S", 0.01)
    keeper = MaintenanceThread(lambda error: None)
    work = Failing(OSError("full"), OSError("full"))
    keeper.notify(work)

    assert work.reached.wait(10)
    keeper.close()


def test_a_failure_of_one_collection_stops_no_other() -> None:
    told = list[StorageDamaged]()
    keeper = MaintenanceThread(told.append)
    damage = StorageDamaged("truth.db", "flipped")
    bad, worse, good = Failing(damage), Failing(ZeroDivisionError()), Failing()
    for work in (bad, worse, good):
        keeper.notify(work)

    assert good.reached.wait(10)
    assert told == [damage]
    keeper.notify(worse)
    assert worse.reached.wait(10)
    keeper.close()
    keeper.close()


def test_long_work_is_told_to_stop_at_the_end() -> None:
    keeper = MaintenanceThread(lambda error: None)
    before = keeper.should_stop()
    keeper.close()

    assert (before, keeper.should_stop()) == (False, True)
