"""Files with texts or vectors are readable by their owner alone, whatever the umask is."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from embedder.core.private_files import make_folder
from embedder.index.contract.points import Points
from embedder.index.vector_index import VectorIndex
from tests.unit.index.small_index import save, small_settings

pytestmark = pytest.mark.sqlite

POINTS = Points(["a"], np.ones((1, 2), np.float32), ["secret"], [{}])


@pytest.fixture(autouse=True)
def _open_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


def _readable(folder: Path) -> list[Path]:
    """Return the paths that other users may read or enter, the folder included."""
    return [
        path for path in (folder, *folder.rglob("*")) if stat.S_IMODE(path.stat().st_mode) & 0o077
    ]


def test_other_users_cannot_read_the_files_of_an_index(tmp_path: Path) -> None:
    index = VectorIndex(small_settings(tmp_path / "made" / "index"), background=False)
    index.upsert("c", POINTS)
    save(index, "c")
    index.back_up("c", tmp_path / "copies" / "backup")
    index.export("c", tmp_path / "copies" / "c.parquet")
    names = {path.name for path in tmp_path.rglob("*")}

    assert {"truth.db", "truth.db-wal", "points.db", "manifest.json", "c.parquet"} < names
    assert any(name.endswith(".snap") for name in names)
    assert [found for made in tmp_path.iterdir() for found in _readable(made)] == []
    index.close()


def test_opening_removes_the_permissions_that_an_earlier_version_gave(
    tmp_path: Path,
) -> None:
    index = VectorIndex(small_settings(tmp_path), background=False)
    index.upsert("c", POINTS)
    save(index, "c")
    index.close()
    (tmp_path / "truth.db").chmod(0o644)
    (tmp_path / "collections").chmod(0o755)
    index = VectorIndex(small_settings(tmp_path), background=False)

    assert _readable(tmp_path / "truth.db") == []
    assert _readable(tmp_path / "collections") == []
    index.close()


def test_an_existing_folder_keeps_its_mode(tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir(0o755)
    make_folder(tmp_path / "shared" / "own" / "deeper")
    make_folder(tmp_path / "shared")

    assert stat.S_IMODE((tmp_path / "shared").stat().st_mode) == 0o755
    assert _readable(tmp_path / "shared" / "own") == []
