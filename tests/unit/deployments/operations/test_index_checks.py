"""``embedder index check``, ``rebuild`` and ``restore`` on files that no service has open."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from deployments.cli import main
from embedder.index.storage.sqlite.transaction import SqliteTransaction
from tests.unit.deployments.operations.stopped_index import StoppedIndex


@pytest.fixture(params=[1, 2])
def files(request: pytest.FixtureRequest, tmp_path: Path) -> StoppedIndex:
    """Return an index of one shard, and one of two."""
    return StoppedIndex(tmp_path, request.param)


def test_a_check_of_intact_files_changes_nothing(
    files: StoppedIndex, capsys: pytest.CaptureFixture[str]
) -> None:
    before = [(folder / "truth.db").read_bytes() for folder in files.folders]
    by_config = main(["index", "check", str(files.config)])
    by_data = main(["index", "check", str(files.data)])
    said = capsys.readouterr().out.splitlines()

    assert (by_config, by_data) == (0, 0)
    assert said == 2 * [
        f"{folder.name}: {name}: 20 points, intact"
        for folder in files.folders
        for name in ("docs", "other")
    ]
    assert [(folder / "truth.db").read_bytes() for folder in files.folders] == before


def test_a_rebuild_saves_segments_of_the_configured_kind(
    files: StoppedIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EMBEDDER_INDEX__AUTO_HNSW_ROWS", "16")
    snapshots = [*files.folders[-1].glob("collections/*/*.snap")]
    assert main(["index", "rebuild", str(files.config)]) == 0
    index = files.open(-1)
    described, recovery = index.describe("docs"), index.stats().recovery
    index.close()

    assert snapshots == []
    assert (described.serving, described.segments, described.count) == ("hnsw", 1, 20)
    assert recovery.points_from_store == 0


def test_a_damaged_collection_is_named_and_restored_without_a_service(
    files: StoppedIndex, capsys: pytest.CaptureFixture[str]
) -> None:
    files.lose_a_row()
    assert main(["index", "check", str(files.config)]) == 1
    said = capsys.readouterr()
    restore = ["index", "restore", str(files.backup), "docs", "--store", str(files.config)]
    taken = main(restore)
    assert taken == 1
    assert "exists already" in capsys.readouterr().err
    assert main([*restore, "--replace"]) == 0

    last = files.folders[-1].name
    assert f"{last}: docs: damaged (point '{files.ids[-1][2]}' fails its checksum)" in said.out
    assert "'embedder index restore BACKUP docs --replace'" in said.out
    assert f"{last}: other: 20 points, intact" in said.out
    assert said.err == f"embedder: {last}: damaged\n"
    assert main(["index", "check", str(files.data)]) == 0
    assert files.counts() == [{"docs": 20, "other": 20}] * len(files.folders)


@pytest.mark.parametrize("damage", ["overwrite_the_schema", "overwrite_all"])
def test_a_damaged_file_is_set_aside_and_its_collections_restored(
    files: StoppedIndex, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    getattr(files, damage)()
    damaged = (files.folders[-1] / "truth.db").read_bytes()
    assert main(["index", "check", str(files.config)]) == 1
    assert "'embedder index rebuild'" in capsys.readouterr().out
    restore = ["index", "restore", str(files.backup), "docs", "--store", str(files.data)]
    assert main([*restore, "--replace"]) == 1
    assert "'embedder index rebuild'" in capsys.readouterr().err

    assert main(["index", "rebuild", str(files.config)]) == 0
    (aside,) = files.folders[-1].glob("truth.db.damaged-*Z")
    assert str(aside) in capsys.readouterr().out
    assert aside.read_bytes() == damaged
    assert main([*restore, "--replace"]) == 0
    assert main(["index", "check", str(files.config)]) == 0
    assert files.counts()[-1]["docs"] == 20


def test_a_rebuild_keeps_every_intact_collection(
    files: StoppedIndex, capsys: pytest.CaptureFixture[str]
) -> None:
    files.lose_a_row()
    assert main(["index", "rebuild", str(files.config)]) == 0
    said = capsys.readouterr().out

    assert "'embedder index restore BACKUP docs --replace'" in said
    assert files.counts()[-1] == {"other": 20}
    assert main(["index", "check", str(files.config)]) == 0


def test_a_rebuild_of_a_damaged_file_keeps_what_can_be_read(
    files: StoppedIndex, capsys: pytest.CaptureFixture[str]
) -> None:
    files.overwrite_an_index()
    assert main(["index", "check", str(files.config)]) == 1
    assert main(["index", "rebuild", str(files.config)]) == 0
    said = capsys.readouterr().out

    assert f"{files.folders[-1].name}: the file is damaged (" in said
    assert main(["index", "check", str(files.config)]) == 0
    assert files.counts() == [{"docs": 20, "other": 20}] * len(files.folders)


@pytest.mark.parametrize(
    "command",
    [
        ["check", "DATA"],
        ["rebuild", "DATA"],
        ["restore", "BACKUP", "docs", "--store", "DATA"],
        ["export", "docs", "FILE", "--store", "DATA"],
        ["copy", "DATA", "OTHER"],
    ],
)
def test_files_of_a_running_service_are_refused(
    files: StoppedIndex, command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    places = {"DATA": files.data, "BACKUP": files.backup, "OTHER": files.data.parent / "other"}
    index = files.open(-1)
    assert main(["index", *(str(places.get(word, word)) for word in command)]) == 1
    index.close()

    error = capsys.readouterr().err
    assert f"{files.folders[-1]} is in use by a running service (pid " in error
    assert error.endswith("): stop it first\n")


def test_a_missing_index_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["index", "check", str(tmp_path)]) == 1
    assert main(["index", "check", str(tmp_path / "none.yaml")]) == 1
    said = capsys.readouterr().err

    assert f"there is no index in {tmp_path}/index" in said
    assert f"cannot read {tmp_path}/none.yaml" in said


def test_a_rebuild_without_disk_space_changes_nothing(
    files: StoppedIndex, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    files.lose_a_row()
    before = (files.folders[-1] / "truth.db").read_bytes()

    def full(*_: object, **__: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(SqliteTransaction, "upsert", full)
    assert main(["index", "rebuild", str(files.config)]) == 1
    assert "cannot be written: database or disk is full" in capsys.readouterr().err
    assert (files.folders[-1] / "truth.db").read_bytes() == before
    assert [*files.folders[-1].glob("truth.db.*")] == []
