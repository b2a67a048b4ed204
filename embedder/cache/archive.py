"""Archives of a cache: a folder of safetensors with a manifest that vouches for every byte of them.

Written in parts, so that neither side holds more than one of them, into a folder that gets its name
when all is on disk. Read only when everything in it has been checked. Knows nothing of where the
entries come from or go to.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load, save

from embedder.cache.store.records import KEY_BYTES, TAG_BYTES, Records
from embedder.core.errors import ArchiveError
from embedder.core.private_files import create, make_folder
from embedder.core.types import Entries

MANIFEST = "manifest.json"
MAX_MANIFEST_BYTES = 16 * 2**20
PART_BYTES = 32 * 2**20
"""When a part is written: it holds at most twice as much, and no more is read at once."""

MAX_PART_BYTES = 2 * PART_BYTES + 2**20
BESIDE_BYTES = KEY_BYTES + 4 + 1 + 8
"""What a part holds of an entry beside its vector."""

MAX_WIDTH = 65_536

Clock = Callable[[], float]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ArchivedModel(_Frozen):
    """A model whose vectors an archive may hold; ``tag`` is what their keys begin with, in hex."""

    tag: str = Field(pattern=rf"^[0-9a-f]{{{2 * TAG_BYTES}}}$")
    name: str
    repository: str
    revision: str
    dtype: str
    width: int = Field(ge=1, le=MAX_WIDTH)


class Part(_Frozen):
    """One file of an archive, with what its content must be."""

    name: str = Field(pattern=r"^entries-\d{5}\.safetensors$")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    bytes: int = Field(ge=1, le=MAX_PART_BYTES)
    count: int = Field(ge=1)
    width: int = Field(ge=1, le=MAX_WIDTH)


class Manifest(_Frozen):
    """What an archive holds; ``created_s`` is the wall clock, from which its entries age on."""

    format: Literal[1] = 1
    created_s: float = Field(ge=0, allow_inf_nan=False)
    count: int = Field(ge=0)
    models: tuple[ArchivedModel, ...] = Field(max_length=10_000)
    parts: tuple[Part, ...] = Field(max_length=100_000)


def write_archive(
    path: Path,
    records: Iterable[Records],
    *,
    models: Sequence[ArchivedModel] = (),
    clock: Clock = time.time,
) -> Manifest:
    """Write an archive, which is there whole or not at all.

    Raises:
        ArchiveError: there is something at ``path`` already, or it cannot be written.
    """
    if path.exists():
        raise ArchiveError(str(path), "is there already")
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
        )
        _write(unfinished / MANIFEST, manifest.model_dump_json(indent=2).encode())
        _sync(unfinished)
        unfinished.rename(path)
        _sync(path.parent)
    except OSError as error:
        raise ArchiveError(str(path), f"cannot be written: {error.strerror or error}") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return manifest


def read_archive(path: Path) -> Manifest:
    """Check an archive to the last byte and return its manifest.

    Raises:
        ArchiveError: it is damaged, foreign or newer; the sentence names the file.
    """
    manifest = _read_manifest(path / MANIFEST)
    expected = {MANIFEST, *(part.name for part in manifest.parts)}
    if len(expected) != len(manifest.parts) + 1:
        raise ArchiveError(MANIFEST, "names a part twice")
    for entry in path.iterdir():
        if entry.name not in expected:
            raise ArchiveError(entry.name, "is not named in the manifest")
    seen: set[bytes] = set()
    for part in manifest.parts:
        records = _read_part(path, part)
        seen.update(records.keys)
    if len(seen) != manifest.count:
        raise ArchiveError(
            MANIFEST, f"counts {manifest.count} entries; the parts hold {len(seen)} keys"
        )
    return manifest


def records_of(path: Path, manifest: Manifest, *, clock: Clock = time.time) -> Iterator[Records]:
    """Yield the entries of an archive that are still to be remembered, part by part.

    Their lives go on from when it was written; where the clock has gone back since, from now.

    Raises:
        ArchiveError: a part is no longer what it was when the manifest was read.
    """
    for part in manifest.parts:
        records = _read_part(path, part)
        ttls_s = records.ttls_s - max(0.0, clock() - manifest.created_s)
        rows = np.flatnonzero(ttls_s > 0)
        keys = [records.keys[row] for row in rows.tolist()]
        yield Records(keys, records.entries.take(rows), ttls_s[rows])


def _gathered(records: Iterable[Records]) -> Iterator[Records]:
    """Yield records of one width each, of about `PART_BYTES`, as soon as they are complete."""
    waiting: dict[int, list[Records]] = defaultdict(list)
    for one in records:
        most = max(1, PART_BYTES // (4 * one.width + BESIDE_BYTES))
        for start in range(0, len(one), most):
            waiting[one.width].append(one.part(slice(start, start + most)))
            if sum(map(len, waiting[one.width])) >= most:
                yield Records.joined(waiting.pop(one.width))
    for gathered in waiting.values():
        yield Records.joined(gathered)


def _write_part(folder: Path, number: int, records: Records) -> Part:
    name = f"entries-{number:05d}.safetensors"
    content = save(
        {
            "keys": np.frombuffer(b"".join(records.keys), np.uint8).reshape(-1, KEY_BYTES),
            "vectors": np.ascontiguousarray(records.entries.vectors),
            "token_counts": np.ascontiguousarray(records.entries.token_counts),
            "truncated": np.ascontiguousarray(records.entries.truncated),
            "lives_s": np.ascontiguousarray(records.ttls_s),
        }
    )
    _write(folder / name, content)
    return Part(
        name=name,
        sha256=hashlib.sha256(content).hexdigest(),
        bytes=len(content),
        count=len(records),
        width=records.width,
    )


def _read_manifest(path: Path) -> Manifest:
    content = _read(path, MAX_MANIFEST_BYTES)
    try:
        return Manifest.model_validate_json(content)
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(map(str, problem["loc"]))
        if where == "format":
            raise ArchiveError(
                MANIFEST, f"has format {problem['input']!r}; this version reads format 1"
            ) from None
        raise ArchiveError(MANIFEST, f"is no manifest: {where} {problem['msg']}") from None


def _read_part(folder: Path, part: Part) -> Records:
    content = _read(folder / part.name, part.bytes)
    if len(content) != part.bytes or hashlib.sha256(content).hexdigest() != part.sha256:
        raise ArchiveError(part.name, "is not what was written: its SHA-256 differs")
    try:
        tensors = load(content)
    except (SafetensorError, ValueError) as error:
        raise ArchiveError(part.name, f"is no safetensors file: {error}") from None
    shapes = {name: (tensor.dtype, tensor.shape) for name, tensor in tensors.items()}
    count = part.count
    if shapes != {
        "keys": (np.dtype(np.uint8), (count, KEY_BYTES)),
        "vectors": (np.dtype(np.float32), (count, part.width)),
        "token_counts": (np.dtype(np.int32), (count,)),
        "truncated": (np.dtype(np.bool_), (count,)),
        "lives_s": (np.dtype(np.float64), (count,)),
    }:
        raise ArchiveError(part.name, "holds other arrays than the manifest says")
    if not np.isfinite(tensors["vectors"]).all():
        raise ArchiveError(part.name, "has a vector that is not finite")
    if not (tensors["lives_s"] >= 0).all():
        raise ArchiveError(part.name, "has an entry whose life is below zero")
    joined = tensors["keys"].tobytes()
    keys = [joined[at : at + KEY_BYTES] for at in range(0, len(joined), KEY_BYTES)]
    entries = Entries(tensors["vectors"], tensors["token_counts"], tensors["truncated"])
    return Records(keys, entries, tensors["lives_s"])


def _read(path: Path, most: int) -> bytes:
    """Return the content of a plain file; at most one byte more than it may have."""
    try:
        if path.is_symlink() or not path.is_file():
            raise ArchiveError(path.name, "is missing, or no plain file")
        with path.open("rb") as file:
            content = file.read(most + 1)
    except OSError as error:
        raise ArchiveError(path.name, f"cannot be read: {error.strerror}") from None
    if len(content) > most:
        raise ArchiveError(path.name, f"is larger than the {most} bytes that it may have")
    return content


def _write(path: Path, content: bytes) -> None:
    with create(path, exclusive=True) as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    """Put what was created or renamed in a folder on the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
