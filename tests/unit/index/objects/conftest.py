"""An empty object store of each kind that needs no server, and a replica that uploads to it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from tests.unit.index.objects.replica import Replica


@pytest.fixture(params=["memory", "file"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Yield a URL below which nothing is stored."""
    if request.param == "file":
        yield f"file://{tmp_path}/objects"
        return
    yield "memory://snapshots/of tests"
    fsspec.filesystem("memory").store.clear()


@pytest.fixture
def replica(tmp_path: Path, url: str) -> Replica:
    """Return a replica of an empty shard."""
    (tmp_path / "first").mkdir()
    return Replica(tmp_path / "first", url)
