"""Restore a backup into a shard as a new collection, which is invisible until it is complete.

A crash leaves a collection without a name, and the next start deletes it.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from embedder.core.errors import InvalidInput
from embedder.core.storage_errors import BadBackup
from embedder.index.backup import Backup, part_of, shards_of
from embedder.index.contract.checks import check_name
from embedder.index.contract.points import CollectionInfo
from embedder.index.shard import Shard
from embedder.index.storage import point_rows
from embedder.index.storage.collection_rows import (
    CollectionRow,
    find_collection,
    insert_collection,
    remember_deleted,
    rename_collection,
)
from embedder.index.storage.committer import Effect, Write
from embedder.index.storage.failpoints import reach
from embedder.index.storage.row_encoding import EncodedRows
from embedder.index.storage.staging import discard


def restore(
    shard: Shard,
    folder: Path,
    name: str | None = None,
    identity: str | None = None,
    replacing: bool = False,
) -> CollectionInfo:
    """Create a collection from a backup; None is the name in the backup, and a new identity.

    All shards give a collection the same identity. With ``replacing``, it replaces an existing
    collection of the name, even a damaged one.

    Raises:
        BadBackup: the backup is damaged or incomplete, or has another number of shards; nothing of
            it is kept.
        InvalidInput: the name is invalid, or is taken and ``replacing`` is not set.
    """
    recorded = shards_of(folder)
    if recorded != shard.shards:
        problem = f"it has {recorded} shards, but this service has {shard.shards}"
        raise BadBackup(str(folder), problem)
    with closing(Backup(part_of(shard, folder))) as backup:
        name = name or backup.manifest.name
        check_name(name)
        if name in shard.collections and not replacing:
            raise _taken(name)
        spec = replace(backup.row.spec, identity=identity)

        def begin(db: sqlite3.Connection) -> Effect[CollectionRow]:
            row = insert_collection(db, None, spec)
            shard.restoring.add(row.id)
            return lambda: row

        row = shard.commit(begin)
        try:
            for rows in backup.rows():
                row = shard.commit(_insert(row, rows))
            return _publish(shard, row, name, replacing=replacing)
        finally:
            shard.restoring.discard(row.id)
            shard.reclaim()


def _insert(row: CollectionRow, rows: EncodedRows) -> Write[CollectionRow]:
    def write(db: sqlite3.Connection) -> Effect[CollectionRow]:
        _, updated = point_rows.upsert(db, row, rows)
        return lambda: updated

    return write


def _publish(shard: Shard, row: CollectionRow, name: str, *, replacing: bool) -> CollectionInfo:
    # Loaded before it has a name, so that the writer does not wait for it.
    collection = shard.open(replace(row, name=name))
    reach("restore.before_name")

    def write(db: sqlite3.Connection) -> Effect[CollectionInfo]:
        existing = find_collection(db, name)
        if existing is not None and not replacing:
            raise _taken(name)
        if existing is not None:
            discard(db, name)
            rename_collection(db, existing, None)
            remember_deleted(db, existing.identity)
        rename_collection(db, row, name)

        def effect() -> CollectionInfo:
            shard.replace(collection)
            return collection.describe()

        return effect

    return shard.commit(write)


def _taken(name: str) -> InvalidInput:
    problem = f"{name!r} exists already; give it another name, or replace it"
    return InvalidInput("collection", problem)
