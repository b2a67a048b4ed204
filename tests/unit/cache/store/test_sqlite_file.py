"""The SQLite file: one owner, transactions, closing, and files that are removed or replaced."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from embedder.cache.store.sqlite_check import APPLICATION_ID, FORMAT
from embedder.core.errors import StageUnavailable
from tests.unit.cache.store.things_file import add, made_file, names, new_file


@pytest.mark.parametrize("closed", [True, False])
def test_rows_are_there_when_the_file_is_opened_again(tmp_path: Path, closed: bool) -> None:
    made = made_file(tmp_path / "one" / "a.sqlite", closed=closed)
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    made.close()

    file = new_file(tmp_path / "two" / "a.sqlite")
    file.open()

    assert names(file) == [b"kept"]
    assert file.renamed_files == 0
    file.close()


@pytest.mark.parametrize("cut_off", ["nothing", "a header"])
def test_an_interrupted_creation_is_not_damage(tmp_path: Path, cut_off: str) -> None:
    path = tmp_path / "a.sqlite"
    path.touch()
    if cut_off == "a header":
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
        assert path.stat().st_size > 0

    file = new_file(path)
    file.open()

    assert file.renamed_files == 0
    add(file, b"new")
    file.close()


def test_a_file_has_the_application_id_and_owner_only_permissions(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    made_file(path)

    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)
        assert connection.execute("PRAGMA user_version").fetchone() == (FORMAT,)
    assert path.stat().st_mode & 0o077 == 0


def test_a_second_owner_is_refused_until_the_first_is_gone(tmp_path: Path) -> None:
    first, second = made_file(tmp_path / "a.sqlite", closed=False), new_file(tmp_path / "a.sqlite")

    with pytest.raises(StageUnavailable) as refused:
        second.open()
    assert "in use by another process" in refused.value.reason
    assert not second.is_open
    first.close()

    second.open()
    assert names(second) == [b"kept"]
    second.close()


def test_a_path_that_cannot_be_written_raises_unavailable(tmp_path: Path) -> None:
    (tmp_path / "folder").write_text("no folder")

    with pytest.raises(StageUnavailable, match="cache store"):
        new_file(tmp_path / "folder" / "a.sqlite").open()
    (tmp_path / "b.sqlite").mkdir()
    with pytest.raises(StageUnavailable):
        new_file(tmp_path / "b.sqlite").open()
    assert [found.name for found in tmp_path.glob("*corrupt*")] == []


def test_a_file_that_is_not_open_raises_unavailable(tmp_path: Path) -> None:
    file = new_file(tmp_path / "a.sqlite")

    with pytest.raises(StageUnavailable) as refused, file.reading():
        pass
    assert "not open" in refused.value.reason
    with pytest.raises(StageUnavailable):
        file.replace()
    file.close()


def test_a_transaction_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    file = made_file(tmp_path / "a.sqlite", closed=False)

    def fail(statement: str) -> None:
        with file.transaction() as connection:
            connection.execute("INSERT INTO things VALUES (?)", (b"half",))
            connection.execute(statement)
            raise ZeroDivisionError

    with pytest.raises(StageUnavailable):
        fail("INSERT INTO nowhere VALUES (1)")
    with pytest.raises(ZeroDivisionError):
        fail("INSERT INTO things VALUES (1)")

    assert names(file) == [b"kept"]
    file.close()


@pytest.mark.parametrize("whole_folder", [True, False])
def test_a_removed_file_is_noticed_and_created_again(tmp_path: Path, whole_folder: bool) -> None:
    path = tmp_path / "folder" / "a.sqlite"
    file = made_file(path, closed=False)
    if whole_folder:
        shutil.rmtree(path.parent)
    else:
        path.unlink()

    with pytest.raises(StageUnavailable) as caught:
        add(file, b"lost")
    assert "removed or replaced" in caught.value.reason
    assert not file.is_open

    file.open()
    add(file, b"new")
    assert path.exists()
    assert names(file) == [b"new"]
    file.close()


def test_replacing_a_file_frees_its_space_and_keeps_it_locked(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    file = made_file(path, closed=False)
    add(file, bytes(5_000_000))
    full = file.bytes()

    file.replace()

    assert full > 5_000_000
    assert file.bytes() < full / 10
    assert names(file) == []
    with pytest.raises(StageUnavailable):
        new_file(path).open()
    file.close()
