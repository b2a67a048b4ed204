"""``embedder index copy``, ``restore --store`` and ``export --store``, without a service."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet
import pytest

from deployments.cli import main
from deployments.data import recorded_shards
from embedder.index.contract.points import PointField
from embedder.index.storage.failpoints import VARIABLE
from embedder.index.vector_index import VectorIndex
from embedder.settings.model import IndexSettings
from tests.unit.deployments.operations.stopped_index import StoppedIndex

ALL: tuple[PointField, ...] = ("text", "metadata", "vector")
KILLS = int(os.environ.get("TEST_KILLS", "3"))


@pytest.fixture(params=[1, 2])
def files(request: pytest.FixtureRequest, tmp_path: Path) -> StoppedIndex:
    """Return an index of one shard, and one of two."""
    return StoppedIndex(tmp_path, request.param)


def _points(data: Path, name: str) -> set[tuple[object, ...]]:
    """Return all points of a collection, from the index in a data directory."""
    found: set[tuple[object, ...]] = set()
    for folder in sorted((data / "index").glob("VectorIndex-*")):
        index = VectorIndex(IndexSettings(directory=str(folder)), background=False)
        for one in index.scroll(name, limit=1000, include=ALL).records:
            assert one.vector is not None
            found.add((one.id, one.text, str(one.metadata), one.vector.tobytes()))
        index.close()
    return found


def test_all_collections_are_copied_to_another_number_of_shards(
    files: StoppedIndex, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "target"
    copy = ["index", "copy", str(files.config), str(target)]
    assert main([*copy, "--shards", "3"]) == 0
    first = capsys.readouterr().out
    assert main(copy) == 0

    count = 20 * len(files.folders)
    assert [line.split(",")[0] for line in first.splitlines()] == [
        f"docs: {count} points copied and verified",
        f"other: {count} points copied and verified",
    ]
    assert capsys.readouterr().out == first, "a second run verifies what is there"
    assert recorded_shards(target / "index") == 3
    assert _points(target, "docs") == _points(files.data, "docs")
    assert main(["index", "check", str(target)]) == 0


def test_a_new_target_has_the_shards_of_the_source(files: StoppedIndex, tmp_path: Path) -> None:
    copy = ["index", "copy", str(files.data), str(tmp_path / "target"), "--collection", "other"]

    assert main(copy) == 0
    assert recorded_shards(tmp_path / "target" / "index") == len(files.folders)
    assert len(_points(tmp_path / "target", "other")) == 20 * len(files.folders)
    assert main(["index", "export", "docs", str(tmp_path / "x"), "--store", copy[3]]) == 1


def test_a_copy_that_is_refused_says_why(
    files: StoppedIndex, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, target = str(files.data), str(tmp_path / "target")

    def refusal(*words: str) -> str:
        assert main(["index", "copy", *words]) == 1
        return capsys.readouterr().err

    assert "cannot be copied into itself" in refusal(source, str(files.config))
    assert "there is no index in" in refusal(target, source)
    assert "'none', which does not exist" in refusal(source, target, "--collection", "none")
    assert f"index.shards to {len(files.folders)}" in refusal(source, target, "--shards", "5")
    files.lose_a_row()
    assert "collection 'docs' is damaged: restore it" in refusal(source, target)


@pytest.mark.parametrize("kill", range(1, 2 * KILLS, 2))
def test_a_killed_copy_continues(
    files: StoppedIndex, tmp_path: Path, kill: int, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["index", "copy", str(files.data), str(tmp_path / "target"), "--shards", "2"]
    program = "import sys; from deployments.cli import main; sys.exit(main(sys.argv[1:]))"
    ended = subprocess.run(
        [sys.executable, "-c", program, *words],
        check=False,
        env=os.environ | {VARIABLE: f"commit.after:kill@{kill}"},
    )
    assert ended.returncode == -signal.SIGKILL
    assert main(words) == 0

    assert capsys.readouterr().out.count("copied and verified") == 2
    for name in ("docs", "other"):
        assert _points(tmp_path / "target", name) == _points(files.data, name)


def test_a_backup_is_restored_into_another_number_of_shards(
    files: StoppedIndex, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other"
    assert main(["index", "copy", str(files.data), str(other), "--shards", "3"]) == 0
    restore = ["index", "restore", str(files.backup)]
    assert main([*restore, "again", "--store", str(other)]) == 0
    assert "again exists, with" in capsys.readouterr().out
    assert main([*restore, "../x", "--store", str(other)]) == 1

    assert _points(other, "again") == _points(files.data, "docs")


def test_an_export_needs_no_service(
    files: StoppedIndex, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "docs.parquet"
    assert main(["index", "export", "docs", str(file), "--store", str(files.data)]) == 0
    assert f"{20 * len(files.folders)} points are in {file}" in capsys.readouterr().out

    table = pyarrow.parquet.read_table(file)
    assert set(table["id"].to_pylist()) == {point[0] for point in _points(files.data, "docs")}
    assert main(["index", "export", "docs", str(file), "--store", str(files.data)]) == 1
    assert "it exists already" in capsys.readouterr().err
