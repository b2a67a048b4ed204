"""Archives with known records, and fixtures that write them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from embedder.cache import archive
from embedder.cache.archive import write_archive
from embedder.cache.archive_format import FIXED_BYTES, ArchivedModel
from embedder.cache.store.records import FOREVER, Records
from embedder.core.entries.blobs import RAGGED
from embedder.core.entries.entries import Entries

WIDTH = 3
PART = "entries-00000.safetensors"
MODEL = ArchivedModel(
    tag="00" * 8, name="tiny", repository="some/tiny", revision="1", dtype="float32", width=WIDTH
)


def archived_records(count: int, *, width: int = WIDTH, first: int = 0) -> Records:
    """Return ``count`` records that all differ."""
    numbers = np.arange(first, first + count)
    random = np.random.default_rng(first)
    vectors = Entries.allocate(count, width).vectors
    vectors[:] = (
        [random.bytes(4 * (number % 9)) for number in numbers.tolist()]
        if width == RAGGED
        else random.standard_normal((count, width))
    )
    return Records(
        [hashlib.sha256(f"{width} {number}".encode()).digest() for number in numbers],
        Entries(
            vectors,
            numbers.astype(np.int32),
            numbers % 2 == 0,
        ),
        np.where(numbers % 3 == 0, FOREVER, 100.0 + numbers),
    )


def archived_rows(
    records: Iterator[Records] | list[Records],
) -> dict[bytes, tuple[bytes, int, bool, float]]:
    """Return the content of records by key."""
    return {
        key: (
            bytes(one.entries.vectors[row]),
            int(one.entries.token_counts[row]),
            bool(one.entries.truncated[row]),
            float(one.ttls_s[row]),
        )
        for one in records
        for row, key in enumerate(one.keys)
    }


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Limit a part to a few entries."""
    monkeypatch.setattr(archive, "PART_BYTES", 10 * (4 * WIDTH + FIXED_BYTES))


@pytest.fixture
def written(tmp_path: Path, small_parts: None) -> Path:
    """Return an archive of a few parts."""
    path = tmp_path / "archive"
    write_archive(path, [archived_records(35)], models=[MODEL], clock=lambda: 1000.0)
    return path
