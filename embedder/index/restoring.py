"""Puts a backup into a shard as a new collection, which nobody sees before it is whole.

What a crash leaves half done has no name, and the next start deletes it. Knows nothing of how a
backup is kept.
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
from embedder.index.reembedding import exchange
from embedder.index.shard import Shard
from embedder.index.storage.committer import Effect, Write
from embedder.index.storage.failpoints import reach
from embedder.index.storage.rows import EncodedRows
from embedder.index.storage.staging import discard
from embedder.index.storage.writes import (
    CollectionRow,
    find_collection,
    insert_collection,
    remember_deleted,
    rename_collection,
    upsert,
)

EXISTS = "exists already; give it another name, or replace it"


def restore(
    shard: Shard,
    directory: Path,
    name: str | None,
    identity: str | None,
    *,
    replacing: bool = False,
) -> CollectionInfo:
    """Make a collection of a backup, under its own name or another that is free.

    It gets the ``identity``, the same in all shards; None: make one.

    Raises:
        BadBackup: the backup is not whole; nothing of it is kept.
        InvalidInput: the name is not plain, or taken and ``replacing`` is not set.
    """
    with closing(Backup(directory)) as backup:
        name = name or backup.manifest.name
        check_name(name)
        taken = name in shard.collections or name in shard.damaged
        if taken and not replacing:
            raise InvalidInput("collection", f"{name!r} {EXISTS}")
        spec = replace(backup.row.spec, identity=identity)
        row = shard.store.submit(lambda db: _begin(shard, db, spec)).result()
        try:
            for rows in backup.rows():
                row = shard.store.submit(_more(row, rows)).result()
            return _finish(shard, row, name, replacing=replacing)
        finally:
            shard.restoring.discard(row.id)
            shard.reclaim()


def _begin(shard: Shard, db: sqlite3.Connection, spec: Spec) -> Effect[CollectionRow]:
    row = insert_collection(db, None, spec)
    shard.restoring.add(row.id)
    return lambda: row


def _more(row: CollectionRow, rows: EncodedRows) -> Write[CollectionRow]:
    def write(db: sqlite3.Connection) -> Effect[CollectionRow]:
        _, after = upsert(db, row, rows)
        return lambda: after

    return write


def _finish(shard: Shard, row: CollectionRow, name: str, *, replacing: bool) -> CollectionInfo:
    # Searchable before it has a name, so that the writer waits for nothing.
    collection = shard.open(replace(row, name=name))
    reach("restore.before_name")

    def write(db: sqlite3.Connection) -> Effect[CollectionInfo]:
        there = find_collection(db, name)
        if there is not None and not replacing:
            raise InvalidInput("collection", f"{name!r} {EXISTS}")
        if there is not None:
            discard(db, name)
            rename_collection(db, there, None)
            remember_deleted(db, there.identity)
        rename_collection(db, row, name)

        def effect() -> CollectionInfo:
            exchange(shard, collection)
            return collection.describe()

        return effect

    return shard.store.submit(write).result()
