"""Back up one collection into a directory of its own, and read such a backup.

A backup is a SQLite file with the schema of the store, and a manifest with the file's SHA-256. It
is written to a temporary directory and renamed, so that it is complete or absent. It holds the
collection at one moment; writes go on meanwhile. Only the operator chooses paths.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from embedder.core.private_files import OWNER_ONLY_FOLDER, make_folder, sync, write_durably
from embedder.core.storage_errors import BadBackup, NotWritten, StorageDamaged
from embedder.index.collection.scan import scan_rows
from embedder.index.storage.atomic_files import EXISTS, raising_not_written
from embedder.index.storage.collection_rows import (
    CollectionRow,
    as_collection,
    insert_collection,
)
from embedder.index.storage.failpoints import reach
from embedder.index.storage.migration import stored_collections
from embedder.index.storage.point_rows import upsert
from embedder.index.storage.reading import Reader
from embedder.index.storage.row_encoding import EncodedRows
from embedder.index.storage.schema import open_reader, open_writer
from embedder.index.storage.staging import require_collection

FORMAT = 2
"""Format 1, whose collections have no identity, can be restored as well."""
MANIFEST = "manifest.json"
POINTS = "points.db"
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


def back_up(reader: Reader, name: str, directory: Path) -> BackupManifest:
    """Copy a collection into a directory that must not exist.

    Raises:
        UnknownCollection: no collection has this name.
        NotWritten: the directory exists or cannot be written; nothing of it is left.
        StorageDamaged: a row fails its checksum; nothing of the copy is left.
    """
    if directory.exists():
        raise NotWritten(str(directory), EXISTS)
    temporary = directory.with_name(f".{directory.name}.{os.getpid()}.tmp")
    try:
        with raising_not_written(directory):
            make_folder(directory.parent)
            temporary.mkdir(OWNER_ONLY_FOLDER)
        with reader.snapshot() as db:
            row = require_collection(db, name)
            copy_collection(db, str(reader.path), row, temporary / POINTS)
        with raising_not_written(directory):
            manifest = _describe(row, temporary / POINTS)
            write_durably(temporary / MANIFEST, manifest.model_dump_json(indent=2).encode())
            sync(temporary)
            reach("backup.before_publish")
            temporary.rename(directory)
            sync(directory.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return manifest


def copy_collection(
    source: sqlite3.Connection, path: str, row: CollectionRow, target: Path
) -> None:
    """Copy a collection of ``source``, the file at ``path``, into a new or existing file.

    Raises:
        NotWritten: the target cannot be written; nothing of the collection is in it.
        StorageDamaged: a row fails its checksum; nothing of the collection is in the target.
    """
    with raising_not_written(target), closing(open_writer(target, durable=True)) as db:
        db.execute("BEGIN")
        copy = insert_collection(db, row.name, row.spec)
        for rows in scan_rows(source, path, row):
            _, copy = upsert(db, copy, rows)
        db.execute("COMMIT")
        # Leaves one file, without a log.
        db.execute("PRAGMA journal_mode = DELETE")


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
        # A frozen file needs no log beside it, and may be on a read-only file system.
        self._db = open_reader(directory / POINTS, frozen=True)
        try:
            found = self._find(self.manifest.name)
        except (sqlite3.Error, StorageDamaged) as error:
            self._db.close()
            raise BadBackup(str(directory), repr(error)) from error
        if found is None or found.count != self.manifest.count:
            self._db.close()
            raise BadBackup(
                str(directory), f"{POINTS} does not have the points that {MANIFEST} says"
            )
        self.row = found

    def _find(self, name: str) -> CollectionRow | None:
        rows = stored_collections(self._db, "name = ?", (name,))
        return as_collection(rows[0]) if rows else None

    def rows(self) -> Iterator[EncodedRows]:
        """Yield all points in chunks.

        Raises:
            BadBackup: a row fails its checksum.
        """
        try:
            yield from scan_rows(self._db, str(self._directory), self.row)
        except (sqlite3.Error, StorageDamaged) as error:
            raise BadBackup(str(self._directory), repr(error)) from error

    def close(self) -> None:
        """Close the file."""
        self._db.close()


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
