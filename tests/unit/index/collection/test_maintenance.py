"""One thread runs the tasks of all collections in turn, and a failed task stops no other."""

from __future__ import annotations

import threading

import pytest

from embedder.core.storage_errors import StorageDamaged
from embedder.index.collection import maintenance
from embedder.index.collection.maintenance import MaintenanceThread
from tests.unit.waiting import LONG_S


class Steps:
    """A task of several steps, which records each step in a shared list."""

    def __init__(self, name: str, steps: int, done: list[str], ready: threading.Event) -> None:
        self.name, self.left, self.done, self.ready = name, steps, done, ready
        self.finished = threading.Event()

    def __call__(self) -> bool:
        """Do one step."""
        assert self.ready.wait(LONG_S)
        if not self.left:
            self.finished.set()
            return False
        self.left -= 1
        self.done.append(self.name)
        return True


class FailingTask:
    """A task that raises the given errors and then succeeds."""

    def __init__(self, *errors: Exception) -> None:
        self.errors, self.reached = list(errors), threading.Event()

    def __call__(self) -> bool:
        """Raise the next error, or succeed."""
        if self.errors:
            raise self.errors.pop(0)
        self.reached.set()
        return False


def test_tasks_take_turns_after_each_step() -> None:
    done, ready = list[str](), threading.Event()
    thread = MaintenanceThread(lambda error: None)
    tasks = [Steps(name, steps, done, ready) for name, steps in (("a", 5), ("b", 2), ("c", 1))]
    for task in tasks:
        thread.notify(task)
        thread.notify(task)
    ready.set()
    assert all(task.finished.wait(LONG_S) for task in tasks)
    thread.close()

    assert done == ["a", "b", "c", "a", "b", "a", "a", "a"]


def test_a_task_that_failed_for_the_disk_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maintenance, "RETRY_S", 0.01)
    thread = MaintenanceThread(lambda error: None)
    task = FailingTask(OSError("full"), OSError("full"))
    thread.notify(task)

    assert task.reached.wait(LONG_S)
    thread.close()


def test_a_failed_task_stops_no_other() -> None:
    damaged = list[StorageDamaged]()
    thread = MaintenanceThread(damaged.append)
    damage = StorageDamaged("truth.db", "flipped")
    bad, worse, good = FailingTask(damage), FailingTask(ZeroDivisionError()), FailingTask()
    for task in (bad, worse, good):
        thread.notify(task)

    assert good.reached.wait(LONG_S)
    assert damaged == [damage]
    thread.notify(worse)
    assert worse.reached.wait(LONG_S)
    thread.close()
    thread.close()


def test_closing_stops_a_long_step() -> None:
    thread = MaintenanceThread(lambda error: None)
    before = thread.should_stop()
    thread.close()

    assert (before, thread.should_stop()) == (False, True)
