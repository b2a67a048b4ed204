"""``embedder index check`` and ``rebuild`` on a database, also beside a service that uses it."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from deployments.cli import main
from deployments.data import claim_snapshots
from tests.unit.deployments.operations.stopped_index import StoppedIndex
from tests.unit.index.storage.postgres.postgres_server import PASSWORD, running_server


@pytest.fixture(params=[1, 2])
def stopped(request: pytest.FixtureRequest, tmp_path: Path) -> StoppedIndex:
    """Return an index of one shard, and one of two."""
    return StoppedIndex(tmp_path, request.param, running_server().create_database())


def test_a_check_reads_every_row_beside_a_service(
    stopped: StoppedIndex, capsys: pytest.CaptureFixture[str]
) -> None:
    with closing(stopped.open(0)):
        assert main(["index", "check", stopped.store]) == 0
        assert main(["index", "check", str(stopped.config)]) == 0

    assert capsys.readouterr().out.splitlines() == 2 * [
        f"VectorIndex-{shard}: {name}: 20 points, intact"
        for shard in range(stopped.shards)
        for name in ("docs", "other")
    ]


def test_a_damaged_collection_is_named_and_restored(
    stopped: StoppedIndex, capsys: pytest.CaptureFixture[str]
) -> None:
    stopped.lose_a_row()
    assert main(["index", "check", stopped.store]) == 1
    said = capsys.readouterr()
    restore = ["index", "restore", str(stopped.backup), "docs", "--store", stopped.store]
    assert main(restore) == 1
    assert "exists already" in capsys.readouterr().err
    assert main([*restore, "--replace"]) == 0

    last = f"VectorIndex-{stopped.shards - 1}"
    assert f"{last}: docs: damaged (point '{stopped.ids[-1][2]}' fails its checksum)" in said.out
    assert f"{last}: other: 20 points, intact" in said.out
    assert said.err == f"embedder: {last}: damaged\n"
    assert main(["index", "check", stopped.store]) == 0
    assert stopped.counts() == [{"docs": 20, "other": 20}] * stopped.shards


@pytest.mark.parametrize(
    ("statement", "problem"),
    [
        ("UPDATE embedder.collections SET count = 7", "'docs' fails its checksum"),
        ("DELETE FROM embedder.points WHERE pk = 5", "19 of 20 points are there"),
        ("DELETE FROM embedder.vectors WHERE pk = 5", "vector of point .* fails its checksum"),
        (
            "INSERT INTO embedder.vectors SELECT collection, 99, crc, vector FROM embedder.vectors"
            " WHERE pk = 5",
            "21 vectors of 20 points are there",
        ),
    ],
)
def test_lost_and_surplus_rows_are_found(
    stopped: StoppedIndex, statement: str, problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    import re

    import psycopg

    with psycopg.connect(stopped.store) as db:
        db.execute(statement)
    assert main(["index", "check", stopped.store]) == 1

    (first, *_) = capsys.readouterr().out.splitlines()
    assert re.match(rf"VectorIndex-0: docs: damaged \(.*{problem}.*\): restore it with", first)


def test_a_rebuild_saves_the_snapshots_of_this_machine(
    stopped: StoppedIndex, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["index", "rebuild", stopped.store]) == 1
    assert "name the configuration of the service instead" in capsys.readouterr().err
    assert main(["index", "rebuild", str(stopped.config)]) == 0

    for folder in stopped.folders:
        assert len([*folder.glob("replica-0/collections/*/*.snap")]) == 2
    with closing(claim_snapshots(stopped.folders[-1])) as lock:
        assert main(["index", "rebuild", str(stopped.config)]) == 1
    assert f"{lock.directory} is in use by a running service" in capsys.readouterr().err


def test_a_database_that_cannot_be_used_is_named_without_the_password(
    capsys: pytest.CaptureFixture[str],
) -> None:
    server = running_server()
    empty, missing = server.create_database(), server.url("missing")
    down = missing.replace("host=", "host=%2Fnowhere")

    def refusal(store: str) -> str:
        assert main(["index", "check", store]) == 1
        error = capsys.readouterr().err
        assert PASSWORD not in error
        return error

    assert "there is no index in the database of that URL" in refusal(empty)
    assert "does not exist: create it" in refusal(missing)
    assert "start the database, or correct its URL" in refusal(down)
    assert "index.url is not a URL of PostgreSQL" in refusal("postgresql://a@b:c/d?e")
    assert "refuses the login" in refusal(empty.replace("correct", "wrong"))
