"""Back up one shard's part of a collection into a folder of its own, and read such a backup.

A backup is a SQLite file with the schema of the store, and a manifest with the file's SHA-256. It
is written to a temporary folder and renamed, so that it is complete or absent. It holds the
collection at one moment; writes go on meanwhile. Only the operator chooses paths.

With several shards, the folder holds a folder for each shard, and a file, written last, with the
number of shards.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from embedder.core.private_files import OWNER_ONLY_FOLDER, make_folder, sync, write_durably
from embedder.core.storage_errors import BadBackup, NotWritten, StorageDamaged
from embedder.index.shard import Shard
from embedder.index.storage.disk.atomic_files import EXISTS, raising_not_written, write_once
from embedder.index.storage.failpoints import reach
from embedder.index.storage.records import CollectionRow
from embedder.index.storage.row_encoding import EncodedRows
from embedder.index.storage.sqlite.files.collection_file import CollectionFile, write_collection
from embedder.index.storage.staging import require_collection

FORMAT = 2
"""Format 1, whose collections have no identity, can be restored as well."""
MANIFEST = "manifest.json"
POINTS = "points.db"
SHARDS_FILE = "SHARDS"
MAX_MANIFEST_BYTES = 1 << 16


class BackupManifest(BaseModel):
    """Describes a backup of the collection ``name`` at ``sequence``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int
    name: str
    sequence: int = Field(ge=0)
    count: int = Field(ge=0)
    bytes: int = Field(ge=0)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


def back_up(shard: Shard, name: str, folder: Path) -> int:
    """Copy a collection, as it is at one moment, and return its number of points.

    Raises:
        NotWritten: the folder already holds a backup or cannot be written; nothing of it is left.
        StorageDamaged: a row fails its checksum; nothing of the copy is left.
    """
    if shard.shards > 1 and (folder / SHARDS_FILE).exists():
        raise NotWritten(str(folder), EXISTS)
    shard.find(name)
    part, reader = _part(shard, folder), shard.store.reader
    if part.exists():
        raise NotWritten(str(part), EXISTS)
    temporary = part.with_name(f".{part.name}.{os.getpid()}.tmp")
    try:
        with raising_not_written(part):
            make_folder(part.parent)
            temporary.mkdir(OWNER_ONLY_FOLDER)
        with reader.snapshot() as rows:
            row = require_collection(rows, name)
            write_collection(temporary / POINTS, row, rows.scan(row))
        with raising_not_written(part):
            manifest = _describe(row, temporary / POINTS)
            write_durably(temporary / MANIFEST, manifest.model_dump_json(indent=2).encode())
            sync(temporary)
            reach("backup.before_publish")
            temporary.rename(part)
            sync(part.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return row.count


def finish_backup(shard: Shard, folder: Path) -> None:
    """Record that all shards have copied their parts; before that, none can be restored.

    Raises:
        NotWritten: the folder cannot be written.
    """
    if shard.shards > 1:
        # Several shards of one node write the same file; the first one succeeds.
        with raising_not_written(folder):
            write_once(folder / SHARDS_FILE, f"{shard.shards}\n".encode())


def find_part(shard: Shard, folder: Path) -> Path:
    """Return the folder of this shard's part of a backup.

    Raises:
        BadBackup: the folder is not a finished backup, or has another number of shards.
    """
    parts = len(find_parts(folder))
    if parts != shard.shards:
        raise BadBackup(
            str(folder),
            f"it has {parts} shards, but this service has {shard.shards}: stop the service, and "
            "restore with --store, which distributes the points anew",
        )
    return _part(shard, folder)


def find_parts(folder: Path) -> list[Path]:
    """Return the folders of all shards' parts of a backup.

    Raises:
        BadBackup: the folder is not a finished backup.
    """
    if (folder / MANIFEST).exists():
        return [folder]
    try:
        shards = int((folder / SHARDS_FILE).read_text())
    except (OSError, ValueError) as error:
        missing = f"it has no {MANIFEST} and no valid {SHARDS_FILE} ({error})"
        raise BadBackup(str(folder), f"{missing}: not a backup, or unfinished") from error
    parts = sorted(path.parent for path in folder.glob(f"*/{MANIFEST}"))
    if len(parts) != shards:
        raise BadBackup(str(folder), f"{len(parts)} of the parts of {shards} shards are there")
    return parts


def read_manifest(directory: Path) -> BackupManifest:
    """Return the manifest of a backup after checking the size and SHA-256 of its file.

    Raises:
        BadBackup: the manifest or the file is missing, damaged, or of an unknown format.
    """
    try:
        with (directory / MANIFEST).open("rb") as file:
            manifest = BackupManifest.model_validate_json(file.read(MAX_MANIFEST_BYTES))
    except (OSError, ValidationError) as error:
        raise BadBackup(str(directory), f"{MANIFEST} cannot be read: {error}") from error
    if not 1 <= manifest.format <= FORMAT:
        problem = f"it has format {manifest.format}; this version reads up to {FORMAT}"
        raise BadBackup(str(directory), problem)
    path = directory / POINTS
    try:
        if path.is_symlink() or not path.is_file() or path.stat().st_size != manifest.bytes:
            raise BadBackup(str(directory), f"{POINTS} has another size than {MANIFEST} says")
        if _digest(path) != manifest.sha256:
            raise BadBackup(str(directory), f"{POINTS} has another SHA-256 than {MANIFEST} says")
    except OSError as error:
        raise BadBackup(str(directory), f"{POINTS} cannot be read: {error.strerror}") from error
    return manifest


class Backup:
    """An open backup: its collection, and its rows in insertion order."""

    def __init__(self, directory: Path) -> None:
        """Check and open a backup.

        Raises:
            BadBackup: it is damaged or incomplete.
        """
        self.manifest = read_manifest(directory)
        self._directory = directory
        with self._refusing_damage():
            self._file = CollectionFile(directory / POINTS, self.manifest.name)
        row = self._file.row
        if row is None or row.count != self.manifest.count:
            self._file.close()
            raise BadBackup(
                str(directory), f"{POINTS} does not have the points that {MANIFEST} says"
            )
        self.row = row

    def rows(self) -> Iterator[EncodedRows]:
        """Yield all points in chunks.

        Raises:
            BadBackup: a row fails its checksum.
        """
        with self._refusing_damage():
            yield from self._file.rows()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    @contextmanager
    def _refusing_damage(self) -> Iterator[None]:
        try:
            yield
        except StorageDamaged as error:
            raise BadBackup(str(self._directory), repr(error)) from error


def _part(shard: Shard, folder: Path) -> Path:
    return folder / shard.name if shard.shards > 1 else folder


def _describe(row: CollectionRow, path: Path) -> BackupManifest:
    return BackupManifest(
        format=FORMAT,
        name=str(row.name),
        sequence=row.sequence,
        count=row.count,
        bytes=path.stat().st_size,
        sha256=_digest(path),
    )


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while data := file.read(1 << 20):
            digest.update(data)
    return digest.hexdigest()
