"""A file with one collection, as backups hold it: a SQLite file with the schema of the store."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from embedder.core.storage_errors import NotWritten, StorageDamaged
from embedder.index.storage.disk.atomic_files import raising_not_written
from embedder.index.storage.records import CollectionRow
from embedder.index.storage.row_encoding import EncodedRows
from embedder.index.storage.sqlite.collection_table import as_collection, stored_collections
from embedder.index.storage.sqlite.schema import open_reader, open_writer
from embedder.index.storage.sqlite.snapshot import SqliteSnapshot
from embedder.index.storage.sqlite.transaction import SqliteTransaction


def write_collection(path: Path, row: CollectionRow, chunks: Iterable[EncodedRows]) -> None:
    """Add a collection with its points to a new or existing file, without blocks of postings.

    Raises:
        NotWritten: the file cannot be written; nothing of the collection is in it.
        StorageDamaged: ``chunks`` raised it; nothing of the collection is in the file.
    """
    with writing(path) as db:
        db.execute("BEGIN")
        rows = SqliteTransaction(db, path, indexes=False)
        copy = rows.insert_collection(row.name, row.spec)
        for chunk in chunks:
            _, copy = rows.upsert(copy, chunk)
        db.execute("COMMIT")
        # Leaves one file, without a log.
        db.execute("PRAGMA journal_mode = DELETE")


@contextmanager
def writing(path: Path) -> Iterator[sqlite3.Connection]:
    """Open or create a file that the operator chose.

    Raises:
        NotWritten: it cannot be written.
    """
    with raising_not_written(path):
        try:
            with closing(open_writer(path, durable=True)) as db:
                yield db
        except sqlite3.Error as error:
            raise NotWritten(str(path), str(error)) from error


class CollectionFile:
    """An open file that no process writes: its collection, and its rows in insertion order."""

    def __init__(self, path: Path, name: str) -> None:
        """Open the file; ``row`` is its collection ``name``, or None.

        Raises:
            StorageDamaged: the file cannot be read, or the row fails its checksum.
        """
        self._path = path
        # A frozen file needs no log beside it, and may be on a read-only file system.
        self._db = open_reader(path, frozen=True)
        try:
            with self._reading():
                found = stored_collections(self._db, "name = ?", (name,))
                self.row = as_collection(found[0]) if found else None
        except StorageDamaged:
            self._db.close()
            raise

    def rows(self) -> Iterator[EncodedRows]:
        """Yield the points of the collection in chunks.

        Raises:
            StorageDamaged: a row fails its checksum, or points are missing.
        """
        assert self.row is not None, "a file without the collection has no rows"
        with self._reading():
            yield from SqliteSnapshot(self._db, self._path).scan(self.row)

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    @contextmanager
    def _reading(self) -> Iterator[None]:
        # No process writes the file, so a row that SQLite refuses to read was damaged.
        try:
            yield
        except sqlite3.Error as error:
            raise StorageDamaged(str(self._path), repr(error)) from error
