"""``embedder index check``, ``repair`` and ``restore`` on files that no service has open."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from deployments.cli import main
from deployments.data import claim_shards, index_directory
from deployments.settings.service import ServeSettings
from embedder.index.contract.points import Points
from embedder.index.storage.sqlite.transaction import SqliteTransaction
from embedder.index.vector_index import VectorIndex
from embedder.settings.model import IndexSettings
from tests.unit.deployments.index_service import vectors_of


class Files:
    """An index of some shards in a folder, which a stopped service has left."""

    def __init__(self, folder: Path, shards: int) -> None:
        self.data = folder / "data"
        self.config = folder / "serve_config.yaml"
        self.config.write_text(
            "applications: [{name: embedder, import_path: 'deployments.app:build', "
            f"args: {{data_directory: '{self.data}', index: {{shards: {shards}}}}}}}]"
        )
        settings = ServeSettings.model_validate(
            {"data_directory": str(self.data), "index": {"shards": shards}}
        )
        claim_shards(settings)
        directory = index_directory(settings)
        assert directory is not None
        self.folders = [directory / f"VectorIndex-{at}" for at in range(shards)]
        self.backup = folder / "backup"
        for folder in self.folders:
            index = self.open(folder)
            for name in ("docs", "other"):
                ids = [f"{folder.name}-{at}" for at in range(20)]
                vectors = vectors_of(["a" * at for at in range(20)])
                index.upsert(name, Points(ids, vectors, ids, [{}] * 20))
            index.back_up("docs", self.backup / folder.name if shards > 1 else self.backup)
            index.close()
        if shards > 1:
            (self.backup / "SHARDS").write_text(f"{shards}\n")

    def open(self, folder: Path) -> VectorIndex:
        """Open a shard as the service does."""
        return VectorIndex(IndexSettings(directory=str(folder)), background=False)

    def counts(self) -> list[dict[str, int]]:
        """Return how many points each shard has of each collection."""
        counts = []
        for folder in self.folders:
            index = self.open(folder)
            counts.append({info.name: info.count for info in index.collections()})
            index.close()
        return counts

    def lose_a_row(self) -> None:
        """Damage a collection of the last shard."""
        with sqlite3.connect(self.folders[-1] / "truth.db") as db:
            db.execute("UPDATE points SET text = 'x' WHERE pk = 3")
        db.close()

    def overwrite_an_index(self) -> None:
        """Damage the page from which SQLite finds points by their ids, in the last shard."""
        path = self.folders[-1] / "truth.db"
        with sqlite3.connect(path) as db:
            find = "SELECT rootpage FROM sqlite_master WHERE name = 'points_by_id'"
            (page,) = db.execute(find).fetchone()
            (size,) = db.execute("PRAGMA page_size").fetchone()
        db.close()
        data = bytearray(path.read_bytes())
        data[(page - 1) * size : page * size] = bytes(size)
        path.write_bytes(data)

    def overwrite_the_schema(self) -> None:
        """Damage the list of tables, in the file of the last shard."""
        path = self.folders[-1] / "truth.db"
        path.write_bytes(path.read_bytes().replace(b"points_by_pk", b"points_by_qk", 1))

    def overwrite_all(self) -> None:
        """Damage the whole file of the last shard."""
        (self.folders[-1] / "truth.db").write_bytes(b"x" * 8192)


@pytest.fixture(params=[1, 2])
def files(request: pytest.FixtureRequest, tmp_path: Path) -> Files:
    """Return an index of one shard, and one of two."""
    return Files(tmp_path, request.param)


def test_a_check_of_intact_files_changes_nothing(
    files: Files, capsys: pytest.CaptureFixture[str]
) -> None:
    before = [(folder / "truth.db").read_bytes() for folder in files.folders]
    by_config = main(["index", "check", str(files.config)])
    by_data = main(["index", "check", "--data", str(files.data)])
    repaired = main(["index", "repair", str(files.config)])
    said = capsys.readouterr().out.splitlines()

    assert (by_config, by_data, repaired) == (0, 0, 0)
    assert said == 3 * [
        f"{folder.name}: {name}: 20 points, intact"
        for folder in files.folders
        for name in ("docs", "other")
    ]
    assert [(folder / "truth.db").read_bytes() for folder in files.folders] == before


def test_a_damaged_collection_is_named_and_restored_without_a_service(
    files: Files, capsys: pytest.CaptureFixture[str]
) -> None:
    files.lose_a_row()
    assert main(["index", "check", str(files.config)]) == 1
    said = capsys.readouterr()
    restore = ["index", "restore", str(files.backup), "docs", "--config", str(files.config)]
    taken = main(restore)
    assert taken == 1
    assert "exists already" in capsys.readouterr().err
    assert main([*restore, "--replace"]) == 0

    last = files.folders[-1].name
    assert f"{last}: docs: damaged (point '{last}-2' fails its checksum)" in said.out
    assert "'embedder index restore BACKUP docs --replace'" in said.out
    assert f"{last}: other: 20 points, intact" in said.out
    assert said.err == f"embedder: {last}: damaged\n"
    assert main(["index", "check", "--data", str(files.data)]) == 0
    assert files.counts() == [{"docs": 20, "other": 20}] * len(files.folders)


@pytest.mark.parametrize("damage", ["overwrite_the_schema", "overwrite_all"])
def test_a_damaged_file_is_set_aside_and_its_collections_restored(
    files: Files, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    getattr(files, damage)()
    damaged = (files.folders[-1] / "truth.db").read_bytes()
    assert main(["index", "check", str(files.config)]) == 1
    assert "'embedder index repair'" in capsys.readouterr().out
    restore = ["index", "restore", str(files.backup), "docs", "--data", str(files.data)]
    assert main([*restore, "--replace"]) == 1
    assert "'embedder index repair'" in capsys.readouterr().err

    assert main(["index", "repair", str(files.config)]) == 0
    (aside,) = files.folders[-1].glob("truth.db.damaged-*Z")
    assert str(aside) in capsys.readouterr().out
    assert aside.read_bytes() == damaged
    assert main([*restore, "--replace"]) == 0
    assert main(["index", "check", str(files.config)]) == 0
    assert files.counts()[-1]["docs"] == 20


def test_a_repair_keeps_every_intact_collection(
    files: Files, capsys: pytest.CaptureFixture[str]
) -> None:
    files.lose_a_row()
    assert main(["index", "repair", str(files.config)]) == 0
    said = capsys.readouterr().out

    assert "'embedder index restore BACKUP docs --replace'" in said
    assert files.counts()[-1] == {"other": 20}
    assert main(["index", "check", str(files.config)]) == 0


def test_a_repair_of_a_damaged_file_keeps_what_can_be_read(
    files: Files, capsys: pytest.CaptureFixture[str]
) -> None:
    files.overwrite_an_index()
    assert main(["index", "check", str(files.config)]) == 1
    assert main(["index", "repair", str(files.config)]) == 0
    said = capsys.readouterr().out

    assert f"{files.folders[-1].name}: the file is damaged (" in said
    assert main(["index", "check", str(files.config)]) == 0
    assert files.counts() == [{"docs": 20, "other": 20}] * len(files.folders)


@pytest.mark.parametrize("command", [["check"], ["repair"], ["restore", "backup", "docs"]])
def test_files_of_a_running_service_are_refused(
    files: Files, command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    index = files.open(files.folders[-1])
    assert main(["index", *command, "--data", str(files.data)]) == 1
    index.close()

    assert "is in use by another process (pid" in capsys.readouterr().err


def test_a_missing_index_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["index", "check", "--data", str(tmp_path)]) == 1
    assert main(["index", "check", str(tmp_path / "none.yaml")]) == 1
    said = capsys.readouterr().err

    assert f"there is no index in {tmp_path}/index" in said
    assert f"cannot read {tmp_path}/none.yaml" in said


def test_a_repair_without_disk_space_changes_nothing(
    files: Files, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    files.lose_a_row()
    before = (files.folders[-1] / "truth.db").read_bytes()

    def full(*_: object, **__: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(SqliteTransaction, "upsert", full)
    assert main(["index", "repair", str(files.config)]) == 1
    assert "cannot be written: database or disk is full" in capsys.readouterr().err
    assert (files.folders[-1] / "truth.db").read_bytes() == before
    assert [*files.folders[-1].glob("truth.db.*")] == []
