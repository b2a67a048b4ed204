"""A file is written completely, or not at all; an existing file stays if the disk fails."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from embedder.index.storage import failpoints
from embedder.index.storage.disk.atomic_files import write_atomically


@pytest.fixture(autouse=True)
def _disarmed() -> Iterator[None]:
    yield
    failpoints.arm(None)


@pytest.mark.parametrize("existing", [None, b"old"])
@pytest.mark.parametrize("point", ["snapshot.after_write", "snapshot.after_fsync"])
def test_a_failed_write_leaves_the_old_file_or_none(
    tmp_path: Path, existing: bytes | None, point: str
) -> None:
    path = tmp_path / "file"
    if existing is not None:
        path.write_bytes(existing)
    failpoints.arm(f"{point}:eio")
    with pytest.raises(OSError, match="fail point"):
        write_atomically(path, lambda file: file.write(b"new"))

    assert [one.name for one in tmp_path.iterdir()] == ([] if existing is None else ["file"])
    if existing is not None:
        assert path.read_bytes() == existing
    write_atomically(path, lambda file: file.write(b"new"))
    assert path.read_bytes() == b"new"
