"""Backup, restore and export of collections while the service uses them."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
import pytest

from deployments.operations.backups import IndexBackups
from deployments.operations.collections import CollectionOperations
from deployments.operations.point_lines import PointLine
from embedder.core.deadline import NEVER
from embedder.core.errors import ConfigurationError, InvalidInput, UnknownCollection
from embedder.core.storage_errors import BadBackup, NotWritten, StaleCollection
from embedder.index import lifecycle
from embedder.index.contract.points import CollectionInfo, Points
from embedder.index.shard import Shard
from embedder.index.vector_index import VectorIndex
from tests.unit.deployments.index_service import IndexService, run, search
from tests.unit.deployments.two_model_service import TEXTS, filled_service, index_of
from tests.unit.index.storage.postgres.postgres_server import running_server
from tests.unit.index.stores import STORES

NAME = "things"
COUNT = 60
Serve = Callable[[int], IndexService]
Restore = Callable[[Awaitable[object]], Awaitable[CollectionInfo]]
Split = tuple[IndexService, Restore]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Yield a function that starts a service of some shards with a filled collection."""
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


def _backups(service: IndexService) -> IndexBackups:
    return CollectionOperations(service.as_running()).backups


def _operation(service: IndexService) -> CollectionOperations:
    return CollectionOperations(service.as_running())


@pytest.mark.parametrize("shards", [1, 3])
def test_a_backup_is_restored_under_another_name(serve: Serve, shards: int, tmp_path: Path) -> None:
    service, folder = serve(shards), tmp_path / "backup"

    assert run(_backups(service).back_up(NAME, folder)) == COUNT
    assert run(_backups(service).restore(folder, "again")).count == COUNT
    found = run(search(_operation(service), "again", "bbb", COUNT))
    assert found == run(search(_operation(service), NAME, "bbb", COUNT))
    assert len(found) == COUNT


def test_the_backup_of_a_single_shard_is_a_backup_of_the_library(
    serve: Serve, tmp_path: Path
) -> None:
    run(_backups(serve(1)).back_up(NAME, tmp_path / "backup"))
    index = VectorIndex()

    assert index.restore(tmp_path / "backup").count == COUNT
    index.close()


@pytest.mark.parametrize("shards", [1, 2])
def test_a_backup_is_never_overwritten(serve: Serve, shards: int, tmp_path: Path) -> None:
    backups = _backups(serve(shards))
    run(backups.back_up(NAME, tmp_path / "backup"))

    with pytest.raises(ConfigurationError, match="choose another place"):
        run(backups.back_up(NAME, tmp_path / "backup"))
    assert run(backups.restore(tmp_path / "backup", "again")).count == COUNT


@pytest.mark.parametrize(("made", "restored"), [(1, 2), (2, 1), (2, 3), (3, 2)])
def test_a_backup_of_another_number_of_shards_is_refused(
    serve: Serve, made: int, restored: int, tmp_path: Path
) -> None:
    run(_backups(serve(made)).back_up(NAME, tmp_path / "backup"))
    service = serve(restored)

    with pytest.raises(BadBackup, match=f"has {made} shards, but this service has {restored}"):
        run(_backups(service).restore(tmp_path / "backup", "again"))
    assert [info.name for info in run(_operation(service).index.collections(NEVER))] == [NAME]


def test_an_unfinished_backup_is_refused(serve: Serve, tmp_path: Path) -> None:
    service = serve(2)
    (tmp_path / "backup" / "VectorIndex-1").mkdir(parents=True)

    with pytest.raises(ConfigurationError, match="VectorIndex-1"):
        run(_backups(service).back_up(NAME, tmp_path / "backup"))
    with pytest.raises(BadBackup, match="or unfinished"):
        run(_backups(service).restore(tmp_path / "backup", "again"))


def test_a_failed_restore_leaves_the_collection_in_no_shard(serve: Serve, tmp_path: Path) -> None:
    service, folder = serve(3), tmp_path / "backup"
    run(_backups(service).back_up(NAME, folder))
    with (folder / "VectorIndex-1" / "points.db").open("ab") as file:
        file.write(b"more")

    with pytest.raises(BadBackup, match="VectorIndex-1"):
        run(_backups(service).restore(folder, "again"))
    assert [info.name for info in run(_operation(service).index.collections(NEVER))] == [NAME]


@pytest.mark.parametrize("shards", [1, 3])
def test_a_restore_under_an_existing_name_is_refused(
    serve: Serve, shards: int, tmp_path: Path
) -> None:
    service = serve(shards)
    run(_backups(service).back_up(NAME, tmp_path / "backup"))

    with pytest.raises(InvalidInput, match="exists already"):
        run(_backups(service).restore(tmp_path / "backup", NAME))
    assert run(_operation(service).index.describe(NAME, NEVER)).count == COUNT


@pytest.fixture(params=[(store, exists) for store in STORES for exists in (False, True)])
def split(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Split]:
    """Yield a service, and a function that restores and works when one of two shards is done."""
    store, exists = request.param
    url = running_server().create_database() if store == "postgres" else None
    service = filled_service(tmp_path / "data", 2, url=url, replicas=2 if url else 1)
    is_published, may_go_on, publish = threading.Event(), threading.Event(), lifecycle._publish

    def publish_in_turn(shard: Shard, *given: Any) -> CollectionInfo:
        if shard.name == "VectorIndex-1":
            may_go_on.wait()
        try:
            return publish(shard, *given)
        finally:
            is_published.set()

    async def restore(work: Awaitable[object]) -> CollectionInfo:
        restoring = _backups(service).restore(tmp_path / "backup", NAME, replacing=exists)
        task = asyncio.create_task(restoring)
        await asyncio.to_thread(is_published.wait)
        try:
            await work
        finally:
            may_go_on.set()
        return await task

    run(_backups(service).back_up(NAME, tmp_path / "backup"))
    if not exists:
        run(index_of(service).delete(NAME, NEVER))
    monkeypatch.setattr(lifecycle, "_publish", publish_in_turn)
    yield service, restore
    service.close()


def test_a_request_between_the_shards_of_a_restore_loses_nothing(split: Split) -> None:
    service, restore = split
    ids = [f"new{number}" for number in range(20)]
    points = Points(ids, np.ones((20, 4), np.float32), [None] * 20, [{}] * 20)
    info = run(restore(index_of(service).upsert(NAME, points, NEVER)))

    assert run(index_of(service).count(NAME, None, NEVER)) == len(TEXTS) + len(ids)
    for shard in index_of(service).shards:
        assert run(shard.call(NEVER, VectorIndex.deleted, [info.identity])) == []


@pytest.mark.parametrize("completed", [False, True])
def test_a_deletion_between_the_shards_of_a_restore_is_kept(split: Split, completed: bool) -> None:
    service, restore = split

    async def delete() -> None:
        if completed:
            await index_of(service).describe(NAME, NEVER)
        await index_of(service).delete(NAME, NEVER)

    with pytest.raises(StaleCollection) if completed else nullcontext():
        run(restore(delete()))
    assert run(index_of(service).collections(NEVER)) == []


@pytest.mark.parametrize("shards", [1, 3])
def test_an_export_is_one_table_with_every_point(serve: Serve, shards: int, tmp_path: Path) -> None:
    path = tmp_path / "things.parquet"
    service = serve(shards)

    assert run(_backups(service).export(NAME, path)) == COUNT
    ids = pyarrow.parquet.read_table(path).column("id").to_pylist()
    assert sorted(ids) == sorted(f"p{at}" for at in range(1, COUNT + 1))
    with pytest.raises(ConfigurationError, match="choose another place"):
        run(_backups(service).export(NAME, path))


def test_missing_collections_and_unwritable_files_are_errors(serve: Serve, tmp_path: Path) -> None:
    backups = _backups(serve(1))
    (tmp_path / "file").write_text("no folder")

    with pytest.raises(NotWritten, match="backup cannot be written: there is no folder"):
        run(backups.back_up(NAME, tmp_path / "file" / "deeper" / "backup"))
    with pytest.raises(UnknownCollection):
        run(backups.back_up("others", tmp_path / "backup"))


@pytest.mark.parametrize("shards", [1, 2])
@pytest.mark.parametrize("place", ["missing/things.parquet", "file/things.parquet"])
def test_an_export_into_a_missing_folder_names_the_folder(
    serve: Serve, shards: int, place: str, tmp_path: Path
) -> None:
    service = serve(shards)
    (tmp_path / "file").write_text("no folder")

    with pytest.raises(NotWritten) as raised:
        run(_backups(service).export(NAME, tmp_path / place))
    assert f"there is no folder {(tmp_path / place).parent}" in str(raised.value)
    assert run(_operation(service).index.describe(NAME, NEVER)).count == COUNT
    run(_operation(service).add(NAME, [PointLine(1, "new", "b", None, {})], lambda count: None))


@pytest.mark.parametrize("shards", [1, 2])
def test_backups_and_exports_are_readable_by_the_owner_only(
    serve: Serve, shards: int, tmp_path: Path
) -> None:
    backups, before = _backups(serve(shards)), os.umask(0)
    try:
        run(backups.back_up(NAME, tmp_path / "copies"))
        run(backups.export(NAME, tmp_path / "copies" / "things.parquet"))
    finally:
        os.umask(before)
    made = [tmp_path / "copies", *(tmp_path / "copies").rglob("*")]

    assert [path for path in made if path.stat().st_mode & 0o077] == []
