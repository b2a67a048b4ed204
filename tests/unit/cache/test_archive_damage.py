"""A damaged or foreign archive is refused with the name of the file."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save

from embedder.cache.archive import read_archive, records_of, write_archive
from embedder.cache.archive_format import MANIFEST, MAX_PART_BYTES
from embedder.core.errors import ArchiveError
from tests.unit.cache.archives import PART, WIDTH, archived_records

Damage = Callable[[Path], object]


def _manifest(path: Path, **changes: Any) -> None:
    content = json.loads((path / MANIFEST).read_text())
    (path / MANIFEST).write_text(json.dumps({**content, **changes}))


def _part(path: Path, content: bytes, **changes: Any) -> None:
    """Replace the first part, with its checksum in the manifest."""
    (path / PART).write_bytes(content)
    parts = json.loads((path / MANIFEST).read_text())["parts"]
    digest = hashlib.sha256(content).hexdigest()
    parts[0] = {**parts[0], "sha256": digest, "bytes": len(content), **changes}
    _manifest(path, parts=parts)


def _tensors(count: int = 10, width: int = WIDTH) -> dict[str, np.ndarray[Any, Any]]:
    one = archived_records(count, width=width)
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
    "no JSON": (lambda path: (path / MANIFEST).write_bytes(b"{"), "is not a manifest"),
    "a newer format": (lambda path: _manifest(path, format=3), "has format 3; this version reads"),
    "an unknown field": (lambda path: _manifest(path, more=1), "more"),
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
    "a link": (_links, f"{PART} is missing, or is not a regular file"),
    "a further file": (lambda path: (path / "more").touch(), "more is not named"),
    "no safetensors": (lambda path: _part(path, b"what is this"), "is not a safetensors file"),
    "a header of a trillion rows": (_claims_too_much, "is not a safetensors file"),
    "another width": (lambda path: _part(path, save(_tensors(width=4))), "other arrays"),
    "fewer rows": (lambda path: _part(path, save(_tensors(9))), "other arrays"),
    "an array too many": (
        lambda path: _part(path, save({**_tensors(), "more": NAN})),
        "other arrays",
    ),
    "not finite": (lambda path: _part(path, save({**_tensors(), "vectors": NAN})), "not finite"),
    "a negative time to live": (
        lambda path: _part(path, save({**_tensors(), "lives_s": np.full(10, -1.0)})),
        "negative time to live",
    ),
    "keys that repeat": (_repeats_keys, "counts 35 entries; the parts hold 26 keys"),
}


@pytest.mark.parametrize(("damage", "problem"), DAMAGES.values(), ids=DAMAGES)
def test_a_changed_archive_is_refused_with_the_name_of_the_file(
    written: Path, damage: Damage, problem: str
) -> None:
    damage(written)

    with pytest.raises(ArchiveError, match=problem.replace(".", r"\.")):
        read_archive(written)


@settings(max_examples=60)
@given(st.data())
def test_every_flipped_bit_and_every_truncation_is_found(data: st.DataObject) -> None:
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
    """Return a fresh archive for each example of hypothesis."""
    path = Path(os.environ["XDG_DATA_HOME"]) / "archive"
    shutil.rmtree(path, ignore_errors=True)
    write_archive(path, [archived_records(20), archived_records(5, width=2)])
    return path


def test_a_part_that_changes_after_the_check_is_refused(written: Path) -> None:
    manifest = read_archive(written)
    shutil.copy(written / "entries-00001.safetensors", written / PART)

    with pytest.raises(ArchiveError, match=PART):
        list(records_of(written, manifest))
