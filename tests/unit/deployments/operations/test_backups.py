"""Collections carried to folders of the shards' nodes and back, while they are served."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow.parquet
import pytest

from deployments.operations.backups import IndexBackups
from deployments.operations.collections import CollectionOperations
from deployments.operations.point_lines import PointLine
from embedder.core.errors import ConfigurationError, InvalidInput, UnknownCollection
from embedder.core.storage_errors import BadBackup, NotWritten
from embedder.index.vector_index import VectorIndex
from tests.unit.deployments.index_service import IndexService, run

NAME = "things"
COUNT = 60
Serve = Callable[[int], IndexService]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Yield what starts a service of some shards with a collection in it."""
    started: list[IndexService] = []

    def start(shards: int) -> IndexService:
        service = IndexService(tmp_path / f"data-{len(started)}", shards)
        started.append(service)
        points = [PointLine(at, f"p{at}", "b" * at, None, {"n": at}) for at in range(1, COUNT + 1)]
        run(CollectionOperations(service.as_running()).add(NAME, points, lambda count: None))
        return service

    yield start
    for service in started:
        service.close()


def _carrying(service: IndexService) -> IndexBackups:
    return IndexBackups(service.as_running())


def _operation(service: IndexService) -> CollectionOperations:
    return CollectionOperations(service.as_running())


@pytest.mark.parametrize("shards", [1, 3])
def test_a_backup_comes_back_under_another_name(serve: Serve, shards: int, tmp_path: Path) -> None:
    service, folder = serve(shards), tmp_path / "backup"

    assert run(_carrying(service).back_up(NAME, folder)) == COUNT
    assert run(_carrying(service).restore(folder, "again")).count == COUNT
    found = run(_operation(service).search("again", "bbb", COUNT))
    assert found == run(_operation(service).search(NAME, "bbb", COUNT))
    assert len(found) == COUNT


def test_a_single_shard_s_backup_is_one_of_the_library(serve: Serve, tmp_path: Path) -> None:
    run(_carrying(serve(1)).back_up(NAME, tmp_path / "backup"))
    index = VectorIndex()

    assert index.restore(tmp_path / "backup").count == COUNT
    index.close()


@pytest.mark.parametrize("shards", [1, 2])
def test_a_backup_is_never_written_over(serve: Serve, shards: int, tmp_path: Path) -> None:
    carrying = _carrying(serve(shards))
    run(carrying.back_up(NAME, tmp_path / "backup"))

    with pytest.raises(ConfigurationError, match="choose another place"):
        run(carrying.back_up(NAME, tmp_path / "backup"))
    assert run(carrying.restore(tmp_path / "backup", "again")).count == COUNT


@pytest.mark.parametrize(("made", "restored"), [(1, 2), (2, 1), (2, 3), (3, 2)])
def test_a_backup_of_another_number_of_shards_is_refused(
    serve: Serve, made: int, restored: int, tmp_path: Path
) -> None:
    run(_carrying(serve(made)).back_up(NAME, tmp_path / "backup"))
    service = serve(restored)

    with pytest.raises(BadBackup, match=f"over {made} shards, and this service has {restored}"):
        run(_carrying(service).restore(tmp_path / "backup", "again"))
    assert [info.name for info in run(_operation(service).collections())] == [NAME]


def test_half_a_backup_is_refused(serve: Serve, tmp_path: Path) -> None:
    service = serve(2)
    (tmp_path / "backup" / "VectorIndex-1").mkdir(parents=True)

    with pytest.raises(ConfigurationError, match="VectorIndex-1"):
        run(_carrying(service).back_up(NAME, tmp_path / "backup"))
    with pytest.raises(BadBackup, match="half one"):
        run(_carrying(service).restore(tmp_path / "backup", "again"))


def test_what_one_shard_cannot_restore_is_in_none(serve: Serve, tmp_path: Path) -> None:
    service, folder = serve(3), tmp_path / "backup"
    run(_carrying(service).back_up(NAME, folder))
    with (folder / "VectorIndex-1" / "points.db").open("ab") as file:
        file.write(b"more")

    with pytest.raises(BadBackup, match="VectorIndex-1"):
        run(_carrying(service).restore(folder, "again"))
    assert [info.name for info in run(_operation(service).collections())] == [NAME]


@pytest.mark.parametrize("shards", [1, 3])
def test_a_name_that_is_taken_keeps_its_collection(
    serve: Serve, shards: int, tmp_path: Path
) -> None:
    service = serve(shards)
    run(_carrying(service).back_up(NAME, tmp_path / "backup"))

    with pytest.raises(InvalidInput, match="exists already"):
        run(_carrying(service).restore(tmp_path / "backup", NAME))
    assert run(_operation(service).describe(NAME)).count == COUNT


@pytest.mark.parametrize("shards", [1, 3])
def test_an_export_is_one_table_with_every_point(serve: Serve, shards: int, tmp_path: Path) -> None:
    path = tmp_path / "things.parquet"
    service = serve(shards)

    assert run(_carrying(service).export(NAME, path)) == COUNT
    ids = pyarrow.parquet.read_table(path).column("id").to_pylist()
    assert sorted(ids) == sorted(f"p{at}" for at in range(1, COUNT + 1))
    with pytest.raises(ConfigurationError, match="choose another place"):
        run(_carrying(service).export(NAME, path))


def test_what_cannot_be_written_and_what_is_not_there_is_said(serve: Serve, tmp_path: Path) -> None:
    carrying = _carrying(serve(1))
    (tmp_path / "file").write_text("no folder")

    with pytest.raises(NotWritten, match="backup cannot be written: there is no folder"):
        run(carrying.back_up(NAME, tmp_path / "file" / "deeper" / "backup"))
    with pytest.raises(UnknownCollection):
        run(carrying.back_up("others", tmp_path / "backup"))


@pytest.mark.parametrize("shards", [1, 2])
@pytest.mark.parametrize("place", ["missing/things.parquet", "file/things.parquet"])
def test_an_export_without_a_folder_to_go_to_names_it_and_closes_nothing(
    serve: Serve, shards: int, place: str, tmp_path: Path
) -> None:
    service = serve(shards)
    (tmp_path / "file").write_text("no folder")

    with pytest.raises(NotWritten) as raised:
        run(_carrying(service).export(NAME, tmp_path / place))
    assert f"there is no folder {(tmp_path / place).parent}" in str(raised.value)
    assert run(_operation(service).describe(NAME)).count == COUNT
    run(_operation(service).add(NAME, [PointLine(1, "new", "b", None, {})], lambda count: None))


@pytest.mark.parametrize("shards", [1, 2])
def test_what_is_carried_away_can_be_read_by_its_owner_alone(
    serve: Serve, shards: int, tmp_path: Path
) -> None:
    carrying, before = _carrying(serve(shards)), os.umask(0)
    try:
        run(carrying.back_up(NAME, tmp_path / "carried"))
        run(carrying.export(NAME, tmp_path / "carried" / "things.parquet"))
    finally:
        os.umask(before)
    made = [tmp_path / "carried", *(tmp_path / "carried").rglob("*")]

    assert [path for path in made if path.stat().st_mode & 0o077] == []
