"""Writers that wait together share a commit; one that is refused leaves no trace in it."""

from __future__ import annotations

import errno
import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextvars import copy_context
from pathlib import Path
from typing import Any

import pytest

from embedder.core.cancellation import Cancellation, Cancelled
from embedder.core.errors import InvalidInput
from embedder.core.storage_errors import StorageDamaged, StorageReadOnly
from embedder.index.storage.committer import Committer, Effect
from embedder.index.storage.reserved_space import ReservedSpace
from embedder.index.storage.schema import open_writer


class Desk:
    """A committer, what its connection ran, and a way to keep it busy."""

    def __init__(self, path: Path) -> None:
        self.db = open_writer(path, durable=False)
        self.db.execute("CREATE TABLE notes(text)")
        self.ran: list[str] = []
        self.db.set_trace_callback(self.ran.append)
        self.committer = Committer(self.db, path, ReservedSpace(path.parent, 0), epoch=0)
        self.order: list[str] = []
        self.go = threading.Event()

    def hold(self) -> Future[None]:
        """Keep the writer inside a write until `go` is set."""
        inside = threading.Event()

        def write(_: sqlite3.Connection) -> Effect[None]:
            inside.set()
            assert self.go.wait(10)
            return lambda: None

        future = self.committer.submit(write)
        assert inside.wait(10)
        return future

    def note(self, text: str, error: Exception | None = None) -> Future[str]:
        """Write a note, and fail after it if told to."""

        def write(db: sqlite3.Connection) -> Effect[str]:
            db.execute("INSERT INTO notes VALUES (?)", (text,))
            if error is not None:
                raise error
            return self._shown(text)

        return self.committer.submit(write)

    def notes(self) -> list[str]:
        """Return what is committed; the committer is closed after that."""
        self.committer.close()
        return [text for (text,) in self.db.execute("SELECT text FROM notes ORDER BY rowid")]

    def _shown(self, text: str) -> Callable[[], str]:
        def effect() -> str:
            self.order.append(text)
            return text

        return effect


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(tmp_path / "truth.db")
    yield desk
    desk.go.set()
    desk.committer.close()
    desk.db.close()


def test_writes_that_wait_together_are_committed_together_and_seen_in_order(desk: Desk) -> None:
    held = desk.hold()
    futures = [desk.note(str(number)) for number in range(40)]
    desk.go.set()

    assert [future.result(10) for future in futures] == [str(number) for number in range(40)]
    assert held.done()
    assert desk.order == [str(number) for number in range(40)]
    assert desk.ran.count("COMMIT") == 2
    assert desk.notes() == desk.order


def test_a_refused_write_leaves_no_trace_in_the_commit_of_others(desk: Desk) -> None:
    desk.hold()
    futures = [
        desk.note("a"),
        desk.note("b", InvalidInput("points", "is refused")),
        desk.note("c"),
    ]
    desk.go.set()

    assert futures[0].result(10) == "a"
    with pytest.raises(InvalidInput, match="is refused"):
        futures[1].result(10)
    assert futures[2].result(10) == "c"
    assert desk.notes() == ["a", "c"] == desk.order


SURPRISES = [
    ZeroDivisionError(),
    MemoryError(),
    RecursionError(),
    ValueError("embedded null character"),
    OverflowError("Python int too large to convert to SQLite INTEGER"),
    UnicodeEncodeError("utf-8", "x", 0, 1, "surrogates not allowed"),
    sqlite3.OperationalError("parser stack overflow"),
    sqlite3.ProgrammingError("Incorrect number of bindings supplied"),
    OSError(errno.EMFILE, "too many open files"),
]


@pytest.mark.parametrize("surprise", SURPRISES, ids=repr)
def test_an_error_that_says_nothing_of_the_disk_fails_its_own_write_alone(
    desk: Desk, surprise: Exception
) -> None:
    desk.hold()
    futures = [desk.note("a"), desk.note("b", surprise), desk.note("c")]
    desk.go.set()

    with pytest.raises(type(surprise)):
        futures[1].result(10)
    assert [futures[0].result(10), futures[2].result(10)] == ["a", "c"]
    assert desk.committer.refusal is None
    assert desk.note("d").result(10) == "d"
    assert desk.notes() == ["a", "c", "d"] == desk.order


def test_an_error_that_ends_the_transaction_fails_its_own_write_alone(desk: Desk) -> None:
    def write(db: sqlite3.Connection) -> Effect[None]:
        db.execute("ROLLBACK")  # as SQLite does where it runs out of memory
        raise MemoryError

    desk.hold()
    futures: list[Future[Any]] = [desk.note("a"), desk.committer.submit(write), desk.note("c")]
    desk.go.set()

    with pytest.raises(MemoryError):
        futures[1].result(10)
    assert [futures[0].result(10), futures[2].result(10)] == ["a", "c"]
    assert desk.notes() == ["a", "c"]


@pytest.mark.parametrize(
    ("reported", "kind"),
    [
        (OSError(errno.EIO, "x"), StorageReadOnly),
        (sqlite3.OperationalError("disk I/O error"), StorageReadOnly),
        (sqlite3.DatabaseError("database disk image is malformed"), StorageDamaged),
    ],
)
def test_a_failed_disk_fails_the_whole_commit_and_stops_the_writing(
    desk: Desk, reported: Exception, kind: type[Exception]
) -> None:
    desk.hold()
    futures = [desk.note("a"), desk.note("b", reported), desk.note("c")]
    desk.go.set()
    for future in futures:
        with pytest.raises(kind):
            future.result(10)

    assert isinstance(desk.committer.refusal, kind)
    with pytest.raises(kind):
        desk.note("d")
    assert desk.notes() == []


def test_a_refusal_that_is_raised_again_and_again_does_not_grow(desk: Desk) -> None:
    with pytest.raises(StorageReadOnly):
        desk.note("a", OSError(errno.EIO, "x")).result(10)
    depths = set()
    for _ in range(5):
        with pytest.raises(StorageReadOnly) as raised:
            desk.note("b")
        depths.add(len(raised.traceback))

    assert len(depths) == 1


def test_a_write_whose_caller_has_gone_before_its_turn_is_dropped(tmp_path: Path) -> None:
    desk = Desk(tmp_path / "truth.db")
    desk.hold()
    first, cancellation = desk.note("a"), Cancellation()
    context = copy_context()
    context.run(cancellation.enter)
    gone = context.run(desk.note, "b")
    cancellation.request()
    desk.go.set()

    assert first.result(10) == "a"
    assert isinstance(gone.exception(10), Cancelled)
    assert desk.notes() == ["a"]
    desk.db.close()


def test_what_is_queued_when_it_closes_is_still_committed(desk: Desk) -> None:
    desk.hold()
    futures = [desk.note(str(number)) for number in range(5)]
    closing = threading.Thread(target=desk.committer.close)
    closing.start()
    desk.go.set()
    closing.join(10)

    assert [future.result(0) for future in futures] == ["0", "1", "2", "3", "4"]
