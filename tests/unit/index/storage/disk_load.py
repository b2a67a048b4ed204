"""Points that fill a disk, and a check that the acknowledged ones are stored."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from embedder.core.storage_errors import StorageFull
from embedder.index.contract.points import Points
from embedder.index.vector_index import VectorIndex

WIDTH = 64


@contextmanager
def mounted(path: Path, megabytes: int) -> Iterator[Path]:
    """Mount a file system of this size in a new folder; skip the test without permission."""
    path.mkdir()
    size = f"size={megabytes}m"
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(path)], capture_output=True
    )
    if mount.returncode:
        pytest.skip("mounting a file system needs root")
    yield path
    subprocess.run(["umount", "-l", str(path)], check=True)


def points_from(start: int, count: int = 20, text: str | None = None) -> Points:
    """Return points with the ids ``p<start>`` and following, and random vectors."""
    rows = np.random.default_rng(start).normal(0, 1, (count, WIDTH)).astype(np.float32)
    names = [f"p{number}" for number in range(start, start + count)]
    return Points(names, rows, [text] * count, [{}] * count)


def fill_disk(index: VectorIndex, count: int = 20, text: str | None = None) -> list[int]:
    """Upsert requests of ``count`` points until the disk is full; return their starts."""
    done: list[int] = []
    for start in range(0, 2000 * count, count):
        try:
            index.upsert("c", points_from(start, count, text))
        except StorageFull:
            return done
        done.append(start)
    raise AssertionError("the disk is never full")


def holds(index: VectorIndex, starts: list[int]) -> bool:
    """Say whether the index holds exactly the requests of 20 points with these starts."""
    ids = {f"p{start + number}" for start in starts for number in range(20)}
    seen, cursor = set[str](), None
    while True:
        page = index.scroll("c", cursor, 1000)
        seen |= {record.id for record in page.records}
        if (cursor := page.cursor) is None:
            return seen == ids
