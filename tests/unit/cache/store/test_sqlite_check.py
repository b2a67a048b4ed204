"""Unusable files: they are renamed unchanged, with their log, and a new file is created."""

from __future__ import annotations

import logging
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from embedder.cache.store.sqlite_check import FORMAT
from embedder.core.errors import StageUnavailable
from tests.unit.cache.store.things_file import add, made_file, names, new_file


def _foreign(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE theirs (x)")


def _newer(path: Path) -> None:
    made_file(path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA user_version = {FORMAT + 1}")


def _newer_and_open(path: Path) -> None:
    made_file(path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA user_version = {-FORMAT - 1}")


def _text(path: Path) -> None:
    path.write_text("This is not a database.\n" * 1000)


def _short_text(path: Path) -> None:
    path.write_text("x")


def _half(path: Path) -> None:
    made_file(path)
    os.truncate(path, path.stat().st_size // 2)


def _other_tables(path: Path) -> None:
    made_file(path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("ALTER TABLE things RENAME TO others")


def _torn_and_open(path: Path) -> None:
    """Damage a page of a file that was not closed, so that only a check finds it."""
    made = made_file(path, closed=False)
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
        (_other_tables, "its tables are not those of its format"),
        (_torn_and_open, "damaged"),
    ],
)
def test_an_unusable_file_is_renamed_unchanged(
    tmp_path: Path, spoil: Callable[[Path], None], word: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "a.sqlite"
    spoil(path)
    before = path.read_bytes()

    file = new_file(path)
    with caplog.at_level(logging.ERROR):
        file.open()
    add(file, b"new")

    (aside,) = tmp_path.glob("a.sqlite.corrupt-*")
    assert names(file) == [b"new"]
    assert file.renamed_files == 1
    assert aside.read_bytes() == before
    assert word in caplog.text
    assert aside.name in caplog.text
    file.close()


def test_the_log_of_a_file_is_renamed_with_it(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    _text(path)
    Path(f"{path}-wal").write_text("its log")

    file = new_file(path)
    file.open()

    (log,) = tmp_path.glob("a.sqlite.corrupt-*-wal")
    assert log.read_text() == "its log"
    assert log.with_name(log.name.removesuffix("-wal")).exists()
    file.close()


def test_every_renamed_file_has_its_own_name(tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / "a.sqlite").write_text(f"rubbish {number}")
        file = new_file(tmp_path / "a.sqlite")
        file.open()
        file.close()

    asides = sorted(aside.read_text() for aside in tmp_path.glob("*.corrupt-*"))
    assert asides == ["rubbish 0", "rubbish 1", "rubbish 2"]


def test_damage_found_in_use_renames_the_file_at_the_next_open(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    file = made_file(path, closed=False)

    with pytest.raises(StageUnavailable), file.reading():
        raise sqlite3.DatabaseError("database disk image is malformed")
    assert not file.is_open
    file.open()

    assert names(file) == []
    assert file.renamed_files == 1
    assert len(list(tmp_path.glob("a.sqlite.corrupt-*"))) >= 1
    file.close()
