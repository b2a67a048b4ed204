"""Queued writes share a commit; a refused write leaves nothing in it."""

from __future__ import annotations

import errno
import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from embedder.core.storage_errors import StorageDamaged, StorageReadOnly
from embedder.index.storage.protocol import Effect, Transaction
from embedder.index.storage.sqlite.committer import Committer
from embedder.index.storage.sqlite.reserved_space import ReservedSpace
from embedder.index.storage.sqlite.schema import open_writer
from tests.unit.waiting import LONG_S


class RecordedCommitter:
    """A committer, the statements that its connection ran, and a way to block its thread."""

    def __init__(self, path: Path) -> None:
        self.db = open_writer(path, durable=False)
        self.db.execute("CREATE TABLE notes(text)")
        self.ran: list[str] = []
        self.db.set_trace_callback(self.ran.append)
        self.committer = Committer(self.db, path, ReservedSpace(path.parent, 0), epoch=0)
        self.order: list[str] = []
        self.go = threading.Event()

    def hold(self) -> Future[None]:
        """Block the writer thread inside a write until `go` is set."""
        inside = threading.Event()

        def write(_: Transaction) -> Effect[None]:
            inside.set()
            assert self.go.wait(LONG_S)
            return lambda: None

        future = self.committer.submit(write)
        assert inside.wait(LONG_S)
        return future

    def note(self, text: str, error: Exception | None = None) -> Future[str]:
        """Insert a note; then raise ``error``, if given."""

        def write(_: Transaction) -> Effect[str]:
            self.db.execute("INSERT INTO notes VALUES (?)", (text,))
            if error is not None:
                raise error
            return self._shown(text)

        return self.committer.submit(write)

    def notes(self) -> list[str]:
        """Close the committer, and return the committed notes."""
        self.committer.close()
        return [text for (text,) in self.db.execute("SELECT text FROM notes ORDER BY rowid")]

    def _shown(self, text: str) -> Callable[[], str]:
        def effect() -> str:
            self.order.append(text)
            return text

        return effect


@pytest.fixture
def recorded(tmp_path: Path) -> Iterator[RecordedCommitter]:
    recorded = RecordedCommitter(tmp_path / "truth.db")
    yield recorded
    recorded.go.set()
    recorded.committer.close()
    recorded.db.close()


def test_queued_writes_share_a_commit_and_become_visible_in_order(
    recorded: RecordedCommitter,
) -> None:
    held = recorded.hold()
    futures = [recorded.note(str(number)) for number in range(40)]
    recorded.go.set()

    assert [future.result(LONG_S) for future in futures] == [str(number) for number in range(40)]
    assert held.done()
    assert recorded.order == [str(number) for number in range(40)]
    assert recorded.ran.count("COMMIT") == 2
    assert recorded.notes() == recorded.order


UNRELATED_ERRORS = [
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


@pytest.mark.parametrize("error", UNRELATED_ERRORS, ids=repr)
def test_an_error_unrelated_to_the_disk_fails_only_its_own_write(
    recorded: RecordedCommitter, error: Exception
) -> None:
    recorded.hold()
    futures = [recorded.note("a"), recorded.note("b", error), recorded.note("c")]
    recorded.go.set()

    with pytest.raises(type(error)):
        futures[1].result(LONG_S)
    assert [futures[0].result(LONG_S), futures[2].result(LONG_S)] == ["a", "c"]
    assert recorded.committer.refusal is None
    assert recorded.note("d").result(LONG_S) == "d"
    assert recorded.notes() == ["a", "c", "d"] == recorded.order


def test_an_error_that_ends_the_transaction_fails_only_its_own_write(
    recorded: RecordedCommitter,
) -> None:
    def write(_: Transaction) -> Effect[None]:
        recorded.db.execute("ROLLBACK")  # as SQLite does when it is out of memory
        raise MemoryError

    recorded.hold()
    futures: list[Future[Any]] = [
        recorded.note("a"),
        recorded.committer.submit(write),
        recorded.note("c"),
    ]
    recorded.go.set()

    with pytest.raises(MemoryError):
        futures[1].result(LONG_S)
    assert [futures[0].result(LONG_S), futures[2].result(LONG_S)] == ["a", "c"]
    assert recorded.notes() == ["a", "c"]


@pytest.mark.parametrize(
    ("reported", "kind"),
    [
        (OSError(errno.EIO, "x"), StorageReadOnly),
        (sqlite3.OperationalError("disk I/O error"), StorageReadOnly),
        (sqlite3.DatabaseError("database disk image is malformed"), StorageDamaged),
    ],
)
def test_a_failed_disk_fails_the_whole_commit_and_all_later_writes(
    recorded: RecordedCommitter, reported: Exception, kind: type[Exception]
) -> None:
    recorded.hold()
    futures = [recorded.note("a"), recorded.note("b", reported), recorded.note("c")]
    recorded.go.set()
    for future in futures:
        with pytest.raises(kind):
            future.result(LONG_S)

    assert isinstance(recorded.committer.refusal, kind)
    with pytest.raises(kind):
        recorded.note("d")
    assert recorded.notes() == []


def test_repeated_refusals_do_not_grow_the_traceback(recorded: RecordedCommitter) -> None:
    with pytest.raises(StorageReadOnly):
        recorded.note("a", OSError(errno.EIO, "x")).result(LONG_S)
    depths = set()
    for _ in range(5):
        with pytest.raises(StorageReadOnly) as raised:
            recorded.note("b")
        depths.add(len(raised.traceback))

    assert len(depths) == 1
