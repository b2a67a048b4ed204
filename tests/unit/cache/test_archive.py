"""An archive is written completely or not at all, and is read back exactly."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from embedder.cache.archive import read_archive, records_of, write_archive
from embedder.cache.store.records import Records
from embedder.core.entries.blobs import RAGGED
from embedder.core.errors import ArchiveError
from tests.unit.cache.archives import MODEL, archived_records, archived_rows


@pytest.mark.usefixtures("small_parts")
def test_an_archive_is_read_back_exactly(tmp_path: Path) -> None:
    path = tmp_path / "archive"
    given_records = [
        archived_records(4),
        archived_records(25, first=4),
        archived_records(7, width=5),
        archived_records(6, first=29),
        archived_records(40, width=RAGGED, first=100),
    ]
    manifest = write_archive(path, iter(given_records), models=[MODEL], clock=lambda: 1000.0)
    read = read_archive(path)

    assert read == manifest
    assert (read.count, read.models, read.format) == (82, (MODEL,), 2)
    assert len(read.parts) >= 6
    assert archived_rows(records_of(path, read, clock=lambda: 1000.0)) == archived_rows(
        given_records
    )
    assert [entry.name for entry in tmp_path.iterdir()] == ["archive"]


def test_an_archive_can_be_read_by_its_owner_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        write_archive(tmp_path / "copies" / "archive", [archived_records(3)])
    finally:
        os.umask(before)

    assert [path for path in tmp_path.rglob("*") if path.stat().st_mode & 0o077] == []


def test_an_empty_cache_is_an_archive_too(tmp_path: Path) -> None:
    manifest = write_archive(tmp_path / "archive", [])

    assert read_archive(tmp_path / "archive") == manifest
    assert list(records_of(tmp_path / "archive", manifest)) == []


@pytest.mark.parametrize(
    ("now_s", "aged_s"), [(1000.0, 0), (1102.5, 102.5), (200.0, 0), (9e9, 9e9)]
)
def test_ttls_shrink_with_the_age_of_an_archive_and_never_grow(
    written: Path, now_s: float, aged_s: float
) -> None:
    found = archived_rows(records_of(written, read_archive(written), clock=lambda: now_s))
    expected = {
        key: (*row[:3], row[3] - aged_s)
        for key, row in archived_rows([archived_records(35)]).items()
        if row[3] - aged_s > 0
    }

    assert found == expected


def test_an_existing_archive_is_not_changed(written: Path) -> None:
    with pytest.raises(ArchiveError, match="exists already"):
        write_archive(written, [])

    assert read_archive(written).count == 35


def test_a_full_disk_leaves_no_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small_parts: None
) -> None:
    syncs = []

    def full(descriptor: int) -> None:
        syncs.append(descriptor)
        if len(syncs) == 3:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ArchiveError, match="No space left on device"):
        write_archive(tmp_path / "archive", [archived_records(35)])

    assert list(tmp_path.iterdir()) == []


def test_a_failing_source_leaves_no_files(tmp_path: Path) -> None:
    def failing() -> Iterator[Records]:
        yield archived_records(3)
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write_archive(tmp_path / "archive", failing())

    assert list(tmp_path.iterdir()) == []
