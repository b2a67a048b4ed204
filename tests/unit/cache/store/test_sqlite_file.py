"""One owner, one file: what cannot be used is set aside under another name, and never lost."""

from __future__ import annotations

import logging
import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from embedder.cache.store.sqlite_file import APPLICATION_ID, FORMAT, SqliteFile
from embedder.core.errors import StageUnavailable

SCHEMA = ("CREATE TABLE things (name BLOB)",)


def _file(path: Path) -> SqliteFile:
    return SqliteFile(path, SCHEMA)


def _add(file: SqliteFile, name: bytes) -> None:
    with file.transaction() as connection:
        connection.execute("INSERT INTO things VALUES (?)", (name,))


def _names(file: SqliteFile) -> list[bytes]:
    with file.reading() as connection:
        return [name for (name,) in connection.execute("SELECT name FROM things")]


def _made(path: Path, *, closed: bool = True) -> SqliteFile:
    """Make a file with one thing in it."""
    file = _file(path)
    file.open()
    _add(file, b"kept")
    if closed:
        file.close()
    return file


def _foreign(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE theirs (x)")


def _newer(path: Path) -> None:
    _made(path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA user_version = {FORMAT + 1}")


def _newer_and_open(path: Path) -> None:
    _made(path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA user_version = {-FORMAT - 1}")


def _text(path: Path) -> None:
    path.write_text("This is not a database.\n" * 1000)


def _short_text(path: Path) -> None:
    path.write_text("x")


def _half(path: Path) -> None:
    _made(path)
    os.truncate(path, path.stat().st_size // 2)


def _other_tables(path: Path) -> None:
    _made(path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("ALTER TABLE things RENAME TO others")


def _torn_and_open(path: Path) -> None:
    """Damage a page of a file that was not closed, where only a check finds it."""
    made = _made(path, closed=False)
    with made.reading() as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    copy = path.read_bytes()
    made.close()
    page = len(copy) // 2
    path.write_bytes(copy[:page] + b"\xa5" * 4096 + copy[page + 4096 :])


@pytest.mark.parametrize(
    ("spoil", "word"),
    [
        (_foreign, "not a cache of this program"),
        (_newer, f"has format {FORMAT + 1}"),
        (_newer_and_open, f"has format {FORMAT + 1}"),
        (_text, "not a cache of this program"),
        (_short_text, "not a cache of this program"),
        (_half, "damaged"),
        (_other_tables, "has not the tables of its format"),
        (_torn_and_open, "damaged"),
    ],
)
def test_a_file_that_cannot_be_used_is_set_aside_as_it_is(
    tmp_path: Path, spoil: Callable[[Path], None], word: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "a.sqlite"
    spoil(path)
    before = path.read_bytes()

    file = _file(path)
    with caplog.at_level(logging.ERROR):
        file.open()
    _add(file, b"new")

    (aside,) = tmp_path.glob("a.sqlite.corrupt-*")
    assert _names(file) == [b"new"]
    assert file.set_aside == 1
    assert aside.read_bytes() == before
    assert word in caplog.text
    assert aside.name in caplog.text
    file.close()


def test_the_log_of_a_file_goes_with_it(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    _text(path)
    Path(f"{path}-wal").write_text("its log")

    file = _file(path)
    file.open()

    (log,) = tmp_path.glob("a.sqlite.corrupt-*-wal")
    assert log.read_text() == "its log"
    assert log.with_name(log.name.removesuffix("-wal")).exists()
    file.close()


def test_every_file_that_is_set_aside_keeps_a_name_of_its_own(tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / "a.sqlite").write_text(f"rubbish {number}")
        file = _file(tmp_path / "a.sqlite")
        file.open()
        file.close()

    asides = sorted(aside.read_text() for aside in tmp_path.glob("*.corrupt-*"))
    assert asides == ["rubbish 0", "rubbish 1", "rubbish 2"]


@pytest.mark.parametrize("closed", [True, False])
def test_what_was_written_is_there_when_it_is_opened_again(tmp_path: Path, closed: bool) -> None:
    made = _made(tmp_path / "one" / "a.sqlite", closed=closed)
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    made.close()

    file = _file(tmp_path / "two" / "a.sqlite")
    file.open()

    assert _names(file) == [b"kept"]
    assert file.set_aside == 0
    file.close()


@pytest.mark.parametrize("cut_off", ["nothing", "a header"])
def test_what_is_left_of_a_beginning_is_no_damage(tmp_path: Path, cut_off: str) -> None:
    path = tmp_path / "a.sqlite"
    path.touch()
    if cut_off == "a header":
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
        assert path.stat().st_size > 0

    file = _file(path)
    file.open()

    assert file.set_aside == 0
    _add(file, b"new")
    file.close()


def test_a_file_says_whose_it_is_and_is_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    _made(path)

    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)
        assert connection.execute("PRAGMA user_version").fetchone() == (FORMAT,)
    assert path.stat().st_mode & 0o077 == 0


def test_a_second_owner_is_refused_until_the_first_is_gone(tmp_path: Path) -> None:
    first, second = _made(tmp_path / "a.sqlite", closed=False), _file(tmp_path / "a.sqlite")

    with pytest.raises(StageUnavailable) as refused:
        second.open()
    assert "in use by another process" in refused.value.reason
    assert not second.is_open
    first.close()

    second.open()
    assert _names(second) == [b"kept"]
    second.close()


def test_a_place_that_cannot_be_written_to_is_no_crash(tmp_path: Path) -> None:
    (tmp_path / "folder").write_text("no folder")

    with pytest.raises(StageUnavailable, match="cache store"):
        _file(tmp_path / "folder" / "a.sqlite").open()
    (tmp_path / "b.sqlite").mkdir()
    with pytest.raises(StageUnavailable):
        _file(tmp_path / "b.sqlite").open()
    assert [found.name for found in tmp_path.glob("*corrupt*")] == []


def test_a_file_that_is_not_open_says_so(tmp_path: Path) -> None:
    file = _file(tmp_path / "a.sqlite")

    with pytest.raises(StageUnavailable) as refused, file.reading():
        pass
    assert "not open" in refused.value.reason
    with pytest.raises(StageUnavailable):
        file.replace()
    file.close()


def test_a_transaction_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    file = _made(tmp_path / "a.sqlite", closed=False)

    def fail(statement: str) -> None:
        with file.transaction() as connection:
            connection.execute("INSERT INTO things VALUES (?)", (b"half",))
            connection.execute(statement)
            raise ZeroDivisionError

    with pytest.raises(StageUnavailable):
        fail("INSERT INTO nowhere VALUES (1)")
    with pytest.raises(ZeroDivisionError):
        fail("INSERT INTO things VALUES (1)")

    assert _names(file) == [b"kept"]
    file.close()


@pytest.mark.parametrize("whole_folder", [True, False])
def test_a_file_that_was_taken_away_is_noticed_and_made_again(
    tmp_path: Path, whole_folder: bool
) -> None:
    path = tmp_path / "folder" / "a.sqlite"
    file = _made(path, closed=False)
    if whole_folder:
        shutil.rmtree(path.parent)
    else:
        path.unlink()

    with pytest.raises(StageUnavailable) as told:
        _add(file, b"lost")
    assert "taken away" in told.value.reason
    assert not file.is_open

    file.open()
    _add(file, b"new")
    assert path.exists()
    assert _names(file) == [b"new"]
    file.close()


def test_damage_that_shows_while_it_is_in_use_sets_the_file_aside(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    file = _made(path, closed=False)

    with pytest.raises(StageUnavailable), file.reading():
        raise sqlite3.DatabaseError("database disk image is malformed")
    assert not file.is_open
    file.open()

    assert _names(file) == []
    assert file.set_aside == 1
    assert len(list(tmp_path.glob("a.sqlite.corrupt-*"))) >= 1
    file.close()


def test_replacing_a_file_gives_its_room_back_and_keeps_it_locked(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    file = _made(path, closed=False)
    _add(file, bytes(5_000_000))
    full = file.bytes()

    file.replace()

    assert full > 5_000_000
    assert file.bytes() < full / 10
    assert _names(file) == []
    with pytest.raises(StageUnavailable):
        _file(path).open()
    file.close()
