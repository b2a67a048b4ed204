"""``embedder index copy``, ``restore --store`` and ``export --store``, without a service."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pyarrow.parquet
import pytest

from deployments.cli import main
from deployments.data import recorded_shards
from deployments.operations.stored_index import find_index
from embedder.index.contract.points import Query
from embedder.index.storage.failpoints import VARIABLE
from embedder.index.storage.staging import require_collection
from tests.unit.deployments.index_service import vectors_of
from tests.unit.deployments.operations.stopped_index import StoppedIndex
from tests.unit.index.storage.postgres.postgres_server import running_server
from tests.unit.index.storage.sqlite.version_1 import downgrade

COMMITS = 12
"""Commits of a copy of both collections to two shards: begun, filled and named in each."""

KILLS = min(int(os.environ.get("TEST_KILLS", "1")), COMMITS)
KINDS = ["files", "postgres"]


@pytest.fixture(params=[(kind, shards) for kind in KINDS for shards in (1, 2)], ids=str)
def stopped(request: pytest.FixtureRequest, tmp_path: Path) -> StoppedIndex:
    """Return an index of one shard, and one of two, in files and in a database."""
    kind, shards = request.param
    return StoppedIndex(tmp_path, shards, _url() if kind == "postgres" else None)


@pytest.fixture(params=KINDS)
def target(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return a store that does not exist yet."""
    return _url() if request.param == "postgres" else str(tmp_path / "target")


def _url() -> str:
    return running_server().create_database()


def _points(store: str, name: str) -> set[tuple[object, ...]]:
    """Return all points of a collection in a store."""
    found: set[tuple[object, ...]] = set()
    with find_index(store).rows() as shards:
        for rows in shards:
            for chunk in rows.scan(require_collection(rows, name)):
                vectors = [bytes(one) for one in chunk.blobs]
                sparse = [one and one.encoded() for one in chunk.sparse]
                fields = chunk.ids, chunk.texts, chunk.metadata, vectors, sparse
                found |= set(zip(*fields, strict=True))
    return found


def test_all_collections_are_copied_to_another_number_of_shards(
    stopped: StoppedIndex, target: str, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = ["index", "copy", str(stopped.config), target]
    assert main([*copy, "--shards", "3"]) == 0
    first = capsys.readouterr().out
    assert main(copy) == 0

    count = 20 * stopped.shards
    assert [line.split(",")[0] for line in first.splitlines()] == [
        f"docs: {count} points copied and verified",
        f"other: {count} points copied and verified",
    ]
    assert capsys.readouterr().out == first, "a second run verifies what is there"
    assert find_index(target).shards == 3
    assert _points(target, "docs") == _points(stopped.store, "docs")
    assert len(_points(target, "docs")) == count
    assert main(["index", "check", target]) == 0


def test_a_new_target_has_the_shards_of_the_source(stopped: StoppedIndex, tmp_path: Path) -> None:
    target = str(tmp_path / "target")

    assert main(["index", "copy", stopped.store, target, "--collection", "other"]) == 0
    assert recorded_shards(tmp_path / "target" / "index") == stopped.shards
    assert len(_points(target, "other")) == 20 * stopped.shards
    assert main(["index", "export", "docs", str(tmp_path / "x"), "--store", target]) == 1


def test_a_copy_that_is_refused_says_why(
    stopped: StoppedIndex, target: str, capsys: pytest.CaptureFixture[str]
) -> None:
    source = stopped.store

    def refusal(*words: str) -> str:
        assert main(["index", "copy", *words]) == 1
        return capsys.readouterr().err

    assert "cannot be copied into itself" in refusal(source, str(stopped.config))
    assert "there is no index in" in refusal(target, source)
    said = refusal(source, target, "--collection", "none")
    assert "names 'none', which does not exist; there are: docs, other" in said
    assert f"index.shards to {stopped.shards}" in refusal(source, target, "--shards", "5")
    stopped.lose_a_row()
    assert "collection 'docs' is damaged: restore it" in refusal(source, target)


@pytest.mark.parametrize("kill", range(COMMITS, 0, -COMMITS // KILLS))
def test_a_killed_copy_continues(
    stopped: StoppedIndex, target: str, kill: int, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["index", "copy", stopped.store, target, "--shards", "2"]
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
        assert _points(target, name) == _points(stopped.store, name)


def test_an_unfinished_copy_can_be_abandoned(
    stopped: StoppedIndex, target: str, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = ["index", "copy", stopped.store, target]
    stopped.lose_a_row()
    assert main(copy) == 1
    assert main([*copy, "--abandon"]) == 0
    assert main([*copy, "--abandon"]) == 0
    said = capsys.readouterr().out.splitlines()
    with find_index(target).rows() as shards:
        assert [row for rows in shards for row in rows.collections()] == []

    assert said == [f"unfinished copies that are deleted: {one}" for one in ("docs", "none")]


def test_a_file_of_version_1_is_copied_as_it_is(tmp_path: Path) -> None:
    stopped = StoppedIndex(tmp_path, 1)
    file = stopped.folders[0] / "truth.db"
    downgrade(file)
    before = file.read_bytes()
    assert main(["index", "check", stopped.store]) == 0
    assert main(["index", "copy", stopped.store, str(tmp_path / "target")]) == 0
    assert main(["index", "export", "docs", str(tmp_path / "docs"), "--store", stopped.store]) == 0

    assert file.read_bytes() == before
    assert _points(str(tmp_path / "target"), "docs") == _points(stopped.store, "docs")


def test_a_service_finds_the_copy_in_its_database(tmp_path: Path) -> None:
    (tmp_path / "service").mkdir()
    source = StoppedIndex(tmp_path, 2)
    service = StoppedIndex(tmp_path / "service", 1, _url())
    with closing(service.open(0)) as index:
        index.delete("docs")
        index.delete("other")
        assert main(["index", "copy", source.store, service.store]) == 0
        found = index.scroll("docs", limit=1000).records
        hits = index.search([Query("docs", vectors_of(["aaa"])[0], 1000)])[0]

    ids = {one for shard in source.ids for one in shard}
    assert {one.id for one in found} == {one.id for one in hits} == ids


def test_a_backup_is_restored_into_another_number_of_shards(
    stopped: StoppedIndex, target: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["index", "copy", stopped.store, target, "--shards", "3"]) == 0
    restore = ["index", "restore", str(stopped.backup)]
    assert main([*restore, "again", "--store", target]) == 0
    assert "again exists, with" in capsys.readouterr().out
    assert main([*restore, "../x", "--store", target]) == 1

    assert _points(target, "again") == _points(stopped.store, "docs")


def test_an_export_needs_no_service(
    stopped: StoppedIndex, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "docs.parquet"
    assert main(["index", "export", "docs", str(file), "--store", stopped.store]) == 0
    assert f"{20 * stopped.shards} points are in {file}" in capsys.readouterr().out

    table = pyarrow.parquet.read_table(file)
    assert set(table["id"].to_pylist()) == {point[0] for point in _points(stopped.store, "docs")}
    assert main(["index", "export", "docs", str(file), "--store", stopped.store]) == 1
    assert "it exists already" in capsys.readouterr().err
