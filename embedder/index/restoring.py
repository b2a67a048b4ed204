"""Restore a backup into a shard as a new collection, which is invisible until it is complete.

A crash leaves a collection without a name, and the next start deletes it.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from embedder.core.errors import InvalidInput
from embedder.index.backup import Backup
from embedder.index.contract.checks import check_name
from embedder.index.contract.points import CollectionInfo, Spec
from embedder.index.shard import Shard
from embedder.index.storage.collection_rows import (
    CollectionRow,
    find_collection,
    insert_collection,
    remember_deleted,
    rename_collection,
)
from embedder.index.storage.committer import Effect, Write
from embedder.index.storage.failpoints import reach
from embedder.index.storage.point_rows import upsert
from embedder.index.storage.row_encoding import EncodedRows
from embedder.index.storage.staging import discard

EXISTS = "exists already; give it another name, or replace it"


def restore(
    shard: Shard,
    directory: Path,
    name: str | None,
    identity: str | None,
    *,
    replacing: bool = False,
) -> CollectionInfo:
    """Create a collection from a backup; None is the name in the backup, and a new identity.

    Raises:
        BadBackup: the backup is damaged or incomplete; nothing of it is kept.
        InvalidInput: the name is invalid, or is taken and ``replacing`` is not set.
    """
    with closing(Backup(directory)) as backup:
        name = name or backup.manifest.name
        check_name(name)
        if name in shard.collections and not replacing:
            raise InvalidInput("collection", f"{name!r} {EXISTS}")
        spec = replace(backup.row.spec, identity=identity)
        row = shard.store.submit(lambda db: _begin(shard, db, spec)).result()
        try:
            for rows in backup.rows():
                row = shard.store.submit(_insert(row, rows)).result()
            return _finish(shard, row, name, replacing=replacing)
        finally:
            shard.restoring.discard(row.id)
            shard.reclaim()


def _begin(shard: Shard, db: sqlite3.Connection, spec: Spec) -> Effect[CollectionRow]:
    row = insert_collection(db, None, spec)
    shard.restoring.add(row.id)
    return lambda: row


def _insert(row: CollectionRow, rows: EncodedRows) -> Write[CollectionRow]:
    def write(db: sqlite3.Connection) -> Effect[CollectionRow]:
        _, updated = upsert(db, row, rows)
        return lambda: updated

    return write


def _finish(shard: Shard, row: CollectionRow, name: str, *, replacing: bool) -> CollectionInfo:
    # Loaded before it has a name, so that the writer does not wait for it.
    collection = shard.open(replace(row, name=name))
    reach("restore.before_name")

    def write(db: sqlite3.Connection) -> Effect[CollectionInfo]:
        existing = find_collection(db, name)
        if existing is not None and not replacing:
            raise InvalidInput("collection", f"{name!r} {EXISTS}")
        if existing is not None:
            discard(db, name)
            rename_collection(db, existing, None)
            remember_deleted(db, existing.identity)
        rename_collection(db, row, name)

        def effect() -> CollectionInfo:
            shard.replace(collection)
            return collection.describe()

        return effect

    return shard.store.submit(write).result()
