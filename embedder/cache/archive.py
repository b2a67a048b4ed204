"""Archives of a cache: a folder of safetensors files, and a manifest with their checksums.

An archive is written part by part, so that only one part is in memory, and gets its name when
everything is on the disk. It is used only after all of it has been checked.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from embedder.cache.archive_format import (
    FIXED_BYTES,
    MANIFEST,
    PART_BYTES,
    ArchivedModel,
    Manifest,
    Part,
    decode_manifest,
    decode_part,
    encode_part,
)
from embedder.cache.store.records import Records
from embedder.core.entries.blobs import RAGGED
from embedder.core.errors import ArchiveError
from embedder.core.private_files import make_folder, sync, write_durably

MAX_MANIFEST_BYTES = 16 * 2**20

Clock = Callable[[], float]


def write_archive(
    path: Path,
    records: Iterable[Records],
    *,
    models: Sequence[ArchivedModel] = (),
    clock: Clock = time.time,
) -> Manifest:
    """Write an archive completely or not at all.

    Raises:
        ArchiveError: ``path`` exists already, or the archive cannot be written.
    """
    if path.exists():
        raise ArchiveError(str(path), "exists already")
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.unfinished")
    try:
        shutil.rmtree(unfinished, ignore_errors=True)
        make_folder(unfinished)
        created_s = clock()
        parts = [_write_part(unfinished, at, part) for at, part in enumerate(_gathered(records))]
        manifest = Manifest(
            created_s=created_s,
            count=sum(part.count for part in parts),
            models=tuple(models),
            parts=tuple(parts),
            format=2 if any(part.width == RAGGED for part in parts) else 1,
        )
        write_durably(unfinished / MANIFEST, manifest.model_dump_json(indent=2).encode())
        sync(unfinished)
        unfinished.rename(path)
        sync(path.parent)
    except OSError as error:
        raise ArchiveError(str(path), f"cannot be written: {error.strerror or error}") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return manifest


def read_archive(path: Path) -> Manifest:
    """Check a whole archive and return its manifest.

    Raises:
        ArchiveError: a file is damaged, foreign or of a newer format; the error names the file.
    """
    manifest = decode_manifest(_read(path / MANIFEST, MAX_MANIFEST_BYTES))
    expected = {MANIFEST, *(part.name for part in manifest.parts)}
    if len(expected) != len(manifest.parts) + 1:
        raise ArchiveError(MANIFEST, "names a part twice")
    for entry in path.iterdir():
        if entry.name not in expected:
            raise ArchiveError(entry.name, "is not named in the manifest")
    seen: set[bytes] = set()
    for part in manifest.parts:
        seen.update(_read_part(path, part).keys)
    if len(seen) != manifest.count:
        raise ArchiveError(
            MANIFEST, f"counts {manifest.count} entries; the parts hold {len(seen)} keys"
        )
    return manifest


def records_of(path: Path, manifest: Manifest, *, clock: Clock = time.time) -> Iterator[Records]:
    """Yield the records of an archive that have not expired, part by part.

    Times to live count from the writing of the archive; if the clock has been set back since, from
    now.

    Raises:
        ArchiveError: a part has changed since the manifest was read.
    """
    for part in manifest.parts:
        records = _read_part(path, part)
        ttls_s = records.ttls_s - max(0.0, clock() - manifest.created_s)
        rows = np.flatnonzero(ttls_s > 0)
        keys = [records.keys[row] for row in rows.tolist()]
        yield Records(keys, records.entries.take(rows), ttls_s[rows])


def _gathered(records: Iterable[Records]) -> Iterator[Records]:
    """Yield records of one width of about `PART_BYTES`, as soon as they are complete."""
    waiting: dict[int, list[Records]] = defaultdict(list)
    sizes: dict[int, int] = defaultdict(int)
    for batch in records:
        width = batch.width
        ends = np.cumsum(batch.entries.sizes + FIXED_BYTES)
        for rows in _cut(ends):
            waiting[width].append(batch.view(rows))
            sizes[width] += int(ends[rows.stop - 1] - (ends[rows.start - 1] if rows.start else 0))
            if sizes[width] >= PART_BYTES:
                sizes[width] = 0
                yield Records.concatenate(waiting.pop(width))
    for rest in waiting.values():
        yield Records.concatenate(rest)


def _cut(ends: NDArray[np.int64]) -> Iterator[slice]:
    """Yield runs of rows, given the last byte of each; a run ends where a part is full."""
    cuts = np.flatnonzero(np.diff((ends - 1) // PART_BYTES)) + 1
    bounds = [0, *cuts.tolist(), len(ends)]
    return (slice(*bound) for bound in pairwise(bounds) if bound[0] < bound[1])


def _write_part(folder: Path, number: int, records: Records) -> Part:
    name = f"entries-{number:05d}.safetensors"
    content = encode_part(records)
    write_durably(folder / name, content)
    return Part(
        name=name,
        sha256=hashlib.sha256(content).hexdigest(),
        bytes=len(content),
        count=len(records),
        width=records.width,
    )


def _read_part(folder: Path, part: Part) -> Records:
    content = _read(folder / part.name, part.bytes)
    if len(content) != part.bytes or hashlib.sha256(content).hexdigest() != part.sha256:
        raise ArchiveError(part.name, "is not what was written: its SHA-256 differs")
    return decode_part(part, content)


def _read(path: Path, max_bytes: int) -> bytes:
    """Return the content of a regular file, which is read to at most ``max_bytes`` + 1."""
    try:
        if path.is_symlink() or not path.is_file():
            raise ArchiveError(path.name, "is missing, or is not a regular file")
        with path.open("rb") as file:
            content = file.read(max_bytes + 1)
    except OSError as error:
        raise ArchiveError(path.name, f"cannot be read: {error.strerror}") from None
    if len(content) > max_bytes:
        raise ArchiveError(path.name, f"has more than {max_bytes} bytes, its maximum")
    return content
