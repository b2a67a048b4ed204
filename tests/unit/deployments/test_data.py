"""The data folders: as configured, in the user's data folder, or none."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from deployments.data import (
    cache_directory,
    check_data,
    claim_shards,
    claim_snapshots,
    index_directory,
)
from deployments.settings.service import ServeSettings
from embedder.core.errors import ConfigurationError
from embedder.index.vector_index import VectorIndex
from embedder.settings.model import IndexSettings

PROC = {"directory": "/proc/self/cache"}
"""A folder in which no user can create a file."""


def _places(**given: Any) -> tuple[Path | None, Path | None]:
    settings = ServeSettings.model_validate(given)
    return cache_directory(settings), index_directory(settings)


def test_cache_and_index_have_folders_in_the_data_directory() -> None:
    assert _places(data_directory="/srv/data") == (Path("/srv/data/cache"), Path("/srv/data/index"))


def test_a_tilde_means_the_home_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/someone")

    assert _places(data_directory="~/kept")[0] == Path("/home/someone/kept/cache")
    assert _places(cache={"directory": "~/kept"})[0] == Path("/home/someone/kept")


@pytest.mark.parametrize("stated", ["data", "./data", "~someone/data", ""])
def test_a_path_that_depends_on_the_process_is_refused(stated: str) -> None:
    with pytest.raises(ValidationError, match="data_directory"):
        _places(data_directory=stated)


@pytest.mark.parametrize(("section", "name"), [("cache", "directory"), ("backend", "cache_dir")])
def test_relative_paths_of_other_settings_are_refused(section: str, name: str) -> None:
    with pytest.raises(ValidationError, match=rf"{section}\.{name}"):
        ServeSettings.model_validate({section: {name: "kept"}})


def test_with_null_no_data_is_kept() -> None:
    assert _places(data_directory=None) == (None, None)


@pytest.mark.parametrize(
    ("stated", "root"),
    [
        ("/data", "/data/embedder"),
        ("", "/home/someone/.local/share/embedder"),
        ("relative", "/home/someone/.local/share/embedder"),
    ],
)
def test_auto_means_the_users_data_folder(
    stated: str, root: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    monkeypatch.setenv("XDG_DATA_HOME", stated)

    assert _places() == (Path(root) / "cache", Path(root) / "index")


def test_the_cache_may_have_a_separate_folder() -> None:
    kept = _places(data_directory=None, cache={"directory": "/fast/disk"})

    assert kept == (Path("/fast/disk"), None)


def _kept(folder: Path, shards: int = 1) -> ServeSettings:
    return ServeSettings.model_validate(
        {"data_directory": str(folder), "index": {"shards": shards}}
    )


def _in_database(folder: Path, shards: int = 1) -> ServeSettings:
    index = {"shards": shards, "url": "postgresql://here/db"}
    return ServeSettings.model_validate({"data_directory": str(folder), "index": index})


def _content(folder: Path) -> set[Path]:
    return set(folder.rglob("*"))


@pytest.mark.parametrize("deep", ["", "not/there/yet"])
def test_the_check_of_usable_folders_changes_nothing(deep: str, tmp_path: Path) -> None:
    check_data(_kept(tmp_path / deep))
    assert _content(tmp_path) == set()


def test_without_data_there_is_nothing_to_check() -> None:
    check_data(ServeSettings(data_directory=None))


def test_a_directory_is_refused_while_another_service_locks_it(
    tmp_path: Path,
) -> None:
    folder = index_directory(_kept(tmp_path))
    assert folder is not None
    index = VectorIndex(IndexSettings(directory=str(folder / "VectorIndex-1")))

    with pytest.raises(ConfigurationError, match=rf"pid {os.getpid()}.*another data_directory"):
        check_data(_kept(tmp_path))
    index.close()
    check_data(_kept(tmp_path))
    VectorIndex(IndexSettings(directory=str(folder / "VectorIndex-1"))).close()


def test_each_replica_has_snapshots_of_its_own_and_finds_them_again(tmp_path: Path) -> None:
    shard = tmp_path / "VectorIndex-0"
    locks = [claim_snapshots(shard) for _ in range(3)]
    assert [lock.directory.relative_to(shard).name for lock in locks] == [
        "replica-0",
        "replica-1",
        "replica-2",
    ]
    locks[1].close()

    assert claim_snapshots(shard).directory == shard / "replica-1"
    assert claim_snapshots(shard).directory == shard / "replica-3"


def test_replicas_that_start_at_once_take_different_folders(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as threads:
        locks = list(threads.map(claim_snapshots, [tmp_path / "VectorIndex-0"] * 8))

    numbers = {lock.directory.name for lock in locks}
    assert numbers == {f"replica-{number}" for number in range(8)}


def test_the_folders_of_a_running_service_with_a_database_are_refused_to_another(
    tmp_path: Path,
) -> None:
    settings = _in_database(tmp_path)
    folder = index_directory(settings)
    assert folder is not None
    lock = claim_snapshots(folder / "VectorIndex-0")

    with pytest.raises(ConfigurationError, match=rf"pid {os.getpid()}.*another data_directory"):
        check_data(settings)
    lock.close()
    check_data(settings)


def test_the_number_of_shards_of_an_index_in_a_database_is_not_in_the_folder(
    tmp_path: Path,
) -> None:
    """An index in files may have been there before, with another number."""
    claim_shards(_kept(tmp_path, 3))
    before = _content(tmp_path)
    for use in (check_data, claim_shards):
        use(_in_database(tmp_path, 2))

    assert _content(tmp_path) == before


def test_snapshots_that_cannot_be_kept_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="snapshots cannot be kept in /proc/self/data"):
        claim_snapshots(Path("/proc/self/data"))


def test_another_number_of_shards_is_refused(
    tmp_path: Path,
) -> None:
    claim_shards(_kept(tmp_path, 3))
    before = _content(tmp_path)

    for refuse in (check_data, claim_shards):
        with pytest.raises(ConfigurationError, match=r"is 2, .* has 3 shards.*data_directory"):
            refuse(_kept(tmp_path, 2))
        refuse(_kept(tmp_path, 3))
    assert _content(tmp_path) == before


def test_shards_that_start_at_once_never_read_a_partial_record(tmp_path: Path) -> None:
    """Each step is a folder of its own; a note that is written in two steps fails some of them."""

    def start(step: int) -> None:
        claim_shards(_kept(tmp_path / str(step // 4), 3))

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(start, range(4 * 150)))
    assert [*tmp_path.rglob("*.tmp")] == []


def test_the_record_of_shards_is_on_disk_before_it_gets_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []

    def noted(name: str, call: Callable[..., object]) -> Callable[..., object]:
        def noting(*arguments: object) -> object:
            done.append(name)
            return call(*arguments)

        return noting

    monkeypatch.setattr(os, "fsync", noted("fsync", os.fsync))
    monkeypatch.setattr(os, "replace", noted("replace", os.replace))
    claim_shards(_kept(tmp_path, 3))

    assert done == ["fsync", "replace", "fsync"]


def test_a_record_without_a_number_is_an_error_with_a_remedy(tmp_path: Path) -> None:
    claim_shards(_kept(tmp_path, 2))
    (tmp_path / "index" / "SHARDS").write_bytes(b"")
    for name in ("VectorIndex-0", "VectorIndex-1"):
        (tmp_path / "index" / name).mkdir()

    for refuse in (check_data, claim_shards):
        with pytest.raises(ConfigurationError, match=r"SHARDS must hold the number.* 2 folders"):
            refuse(_kept(tmp_path, 2))


@pytest.mark.parametrize("name", ["file", "file/deeper"])
def test_a_file_in_the_way_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(ConfigurationError, match=r"cannot be written.*another data_directory"):
        check_data(_kept(tmp_path / name))


def test_a_folder_that_cannot_be_created_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="data_directory cannot be written"):
        check_data(_kept(Path("/proc/self/data")))
    with pytest.raises(ConfigurationError, match="data_directory cannot be written"):
        check_data(ServeSettings.model_validate({"data_directory": None, "cache": PROC}))
