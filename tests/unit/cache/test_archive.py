"""An archive is there whole or not at all, comes back to the byte, and is believed in nothing."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save

from embedder.cache import archive
from embedder.cache.archive import (
    MANIFEST,
    MAX_PART_BYTES,
    ArchivedModel,
    read_archive,
    records_of,
    write_archive,
)
from embedder.cache.store.records import FOREVER, Records
from embedder.core.errors import ArchiveError
from embedder.core.types import Entries

WIDTH = 3
PART = "entries-00000.safetensors"
MODEL = ArchivedModel(
    tag="00" * 8, name="tiny", repository="some/tiny", revision="1", dtype="float32", width=WIDTH
)
Damage = Callable[[Path], object]


def _records(count: int, *, width: int = WIDTH, first: int = 0) -> Records:
    numbers = np.arange(first, first + count)
    random = np.random.default_rng(first)
    return Records(
        [hashlib.sha256(f"{width} {number}".encode()).digest() for number in numbers],
        Entries(
            random.standard_normal((count, width)).astype(np.float32),
            numbers.astype(np.int32),
            numbers % 2 == 0,
        ),
        np.where(numbers % 3 == 0, FOREVER, 100.0 + numbers),
    )


def _rows(
    records: Iterator[Records] | list[Records],
) -> dict[bytes, tuple[bytes, int, bool, float]]:
    return {
        key: (
            one.entries.vectors[row].tobytes(),
            int(one.entries.token_counts[row]),
            bool(one.entries.truncated[row]),
            float(one.ttls_s[row]),
        )
        for one in records
        for row, key in enumerate(one.keys)
    }


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a part hold few entries."""
    monkeypatch.setattr(archive, "PART_BYTES", 10 * (4 * WIDTH + archive.BESIDE_BYTES))


@pytest.fixture
def written(tmp_path: Path, small_parts: None) -> Path:
    """Return an archive of a few parts."""
    path = tmp_path / "archive"
    write_archive(path, [_records(35)], models=[MODEL], clock=lambda: 1000.0)
    return path


@pytest.mark.usefixtures("small_parts")
def test_what_was_written_comes_back_to_the_byte(tmp_path: Path) -> None:
    path = tmp_path / "archive"
    given_records = [
        _records(4),
        _records(25, first=4),
        _records(7, width=5),
        _records(6, first=29),
    ]
    manifest = write_archive(path, iter(given_records), models=[MODEL], clock=lambda: 1000.0)
    read = read_archive(path)

    assert read == manifest
    assert (read.count, read.models) == (42, (MODEL,))
    assert len(read.parts) >= 4
    assert _rows(records_of(path, read, clock=lambda: 1000.0)) == _rows(given_records)
    assert [entry.name for entry in tmp_path.iterdir()] == ["archive"]


def test_an_archive_can_be_read_by_its_owner_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        write_archive(tmp_path / "copies" / "archive", [_records(3)])
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
def test_lives_go_on_while_an_archive_lies_and_never_grow(
    written: Path, now_s: float, aged_s: float
) -> None:
    found = _rows(records_of(written, read_archive(written), clock=lambda: now_s))
    expected = {
        key: (*row[:3], row[3] - aged_s)
        for key, row in _rows([_records(35)]).items()
        if row[3] - aged_s > 0
    }

    assert found == expected


def test_what_is_there_already_is_left_as_it_is(written: Path) -> None:
    with pytest.raises(ArchiveError, match="is there already"):
        write_archive(written, [])

    assert read_archive(written).count == 35


def test_a_disk_that_is_full_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small_parts: None
) -> None:
    syncs = []

    def full(descriptor: int) -> None:
        syncs.append(descriptor)
        if len(syncs) == 3:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ArchiveError, match="No space left on device"):
        write_archive(tmp_path / "archive", [_records(35)])

    assert list(tmp_path.iterdir()) == []


def test_a_source_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    def failing() -> Iterator[Records]:
        yield _records(3)
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write_archive(tmp_path / "archive", failing())

    assert list(tmp_path.iterdir()) == []


def _manifest(path: Path, **changes: Any) -> None:
    content = json.loads((path / MANIFEST).read_text())
    (path / MANIFEST).write_text(json.dumps({**content, **changes}))


def _part(path: Path, content: bytes, **changes: Any) -> None:
    """Put another first part there, for which the manifest vouches."""
    (path / PART).write_bytes(content)
    parts = json.loads((path / MANIFEST).read_text())["parts"]
    digest = hashlib.sha256(content).hexdigest()
    parts[0] = {**parts[0], "sha256": digest, "bytes": len(content), **changes}
    _manifest(path, parts=parts)


def _tensors(count: int = 10, width: int = WIDTH) -> dict[str, np.ndarray[Any, Any]]:
    one = _records(count, width=width)
    return {
        "keys": np.frombuffer(b"".join(one.keys), np.uint8).reshape(-1, 32),
        "vectors": one.entries.vectors,
        "token_counts": one.entries.token_counts,
        "truncated": one.entries.truncated,
        "lives_s": one.ttls_s,
    }


def _claims_too_much(path: Path) -> None:
    entry = {"dtype": "F32", "shape": [10**12, WIDTH], "data_offsets": [0, 4 * WIDTH * 10**12]}
    header = json.dumps({"vectors": entry}).encode()
    _part(path, struct.pack("<Q", len(header)) + header)


def _repeats_keys(path: Path) -> None:
    tensors = _tensors()
    _part(path, save({**tensors, "keys": np.repeat(tensors["keys"][:1], 10, axis=0)}))


def _links(path: Path) -> None:
    (path / PART).rename(path.parent / "elsewhere")
    (path / PART).symlink_to(path.parent / "elsewhere")


NAN = np.full((10, WIDTH), np.nan, np.float32)
DAMAGES: dict[str, tuple[Damage, str]] = {
    "no manifest": (lambda path: (path / MANIFEST).unlink(), "manifest.json is missing"),
    "no JSON": (lambda path: (path / MANIFEST).write_bytes(b"{"), "is no manifest"),
    "a newer format": (lambda path: _manifest(path, format=2), "has format 2; this version reads"),
    "a field that nobody knows": (lambda path: _manifest(path, more=1), "more"),
    "another count": (
        lambda path: _manifest(path, count=36),
        "counts 36 entries; the parts hold 35",
    ),
    "a part twice": (
        lambda path: _manifest(path, parts=json.loads((path / MANIFEST).read_text())["parts"] * 2),
        "names a part twice",
    ),
    "a part elsewhere": (lambda path: _part(path, b"x", name="../x.safetensors"), "parts.0.name"),
    "a part too large": (lambda path: _part(path, b"x", bytes=MAX_PART_BYTES + 1), "parts.0.bytes"),
    "a missing part": (lambda path: (path / PART).unlink(), f"{PART} is missing"),
    "a link": (_links, f"{PART} is missing, or no plain file"),
    "a further file": (lambda path: (path / "more").touch(), "more is not named"),
    "no safetensors": (lambda path: _part(path, b"what is this"), "is no safetensors file"),
    "a header of a trillion rows": (_claims_too_much, "is no safetensors file"),
    "another width": (lambda path: _part(path, save(_tensors(width=4))), "other arrays"),
    "fewer rows": (lambda path: _part(path, save(_tensors(9))), "other arrays"),
    "an array too many": (
        lambda path: _part(path, save({**_tensors(), "more": NAN})),
        "other arrays",
    ),
    "not finite": (lambda path: _part(path, save({**_tensors(), "vectors": NAN})), "not finite"),
    "a life below zero": (
        lambda path: _part(path, save({**_tensors(), "lives_s": np.full(10, -1.0)})),
        "life is below zero",
    ),
    "keys that repeat": (_repeats_keys, "counts 35 entries; the parts hold 26 keys"),
}


@pytest.mark.parametrize(("damage", "problem"), DAMAGES.values(), ids=DAMAGES)
def test_an_archive_that_is_not_what_was_written_is_refused_and_says_where(
    written: Path, damage: Damage, problem: str
) -> None:
    damage(written)

    with pytest.raises(ArchiveError, match=problem.replace(".", r"\.")):
        read_archive(written)


@settings(max_examples=60)
@given(st.data())
def test_no_flipped_bit_and_no_missing_end_goes_unseen(data: st.DataObject) -> None:
    path = _scratch()
    victim = data.draw(st.sampled_from(sorted(path.glob("*.safetensors"))))
    content = bytearray(victim.read_bytes())
    at = data.draw(st.integers(0, len(content) - 1))
    if data.draw(st.booleans()):
        content[at] ^= 1 << data.draw(st.integers(0, 7))
    else:
        del content[at:]
    victim.write_bytes(content)

    with pytest.raises(ArchiveError, match=victim.name):
        read_archive(path)


def _scratch() -> Path:
    """Return a fresh archive; hypothesis runs many examples within one test's fixtures."""
    path = Path(os.environ["XDG_DATA_HOME"]) / "archive"
    shutil.rmtree(path, ignore_errors=True)
    write_archive(path, [_records(20), _records(5, width=2)])
    return path


def test_a_part_that_changes_after_it_was_checked_is_not_taken(written: Path) -> None:
    manifest = read_archive(written)
    shutil.copy(written / "entries-00001.safetensors", written / PART)

    with pytest.raises(ArchiveError, match=PART):
        list(records_of(written, manifest))
