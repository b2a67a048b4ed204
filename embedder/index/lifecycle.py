"""Create, restore and delete collections, and record their models; shards reconcile by these calls.

Each collection has an identity, equal in all shards and new after each deletion. A restored
collection is invisible until it is complete. A crash leaves a collection without a name, and the
next start deletes it.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from embedder.core.errors import InvalidInput
from embedder.core.storage_errors import StaleCollection
from embedder.index.backup import Backup, find_part
from embedder.index.collection.open_collection import OpenCollection
from embedder.index.contract.checks import byte_count, check_name, check_spec
from embedder.index.contract.points import CollectionInfo, Spec, StoredModel
from embedder.index.shard import Shard
from embedder.index.storage import staging
from embedder.index.storage.failpoints import reach
from embedder.index.storage.row_encoding import EncodedRows
from embedder.index.storage.sqlite import collection_rows, point_rows
from embedder.index.storage.sqlite.collection_rows import (
    CollectionRow,
    find_collection,
    insert_collection,
    is_deleted,
    remember_deleted,
    rename_collection,
)
from embedder.index.storage.sqlite.committer import Effect, Write

logger = logging.getLogger(__name__)


def create(shard: Shard, name: str, spec: Spec | None = None) -> CollectionInfo:
    """Create a collection with the identity of ``spec``, or return an equal existing one.

    ``spec`` None is that of a collection by cosine.

    Raises:
        InvalidInput: the name is invalid, the kind does not support the metric, or the name is
            taken by a collection with other settings.
    """
    spec = spec or Spec()
    check_name(name)
    check_spec(spec)

    def write(db: sqlite3.Connection) -> Effect[OpenCollection]:
        row = find_collection(db, name) or insert_collection(db, name, spec)
        return lambda: shard.register(row)

    collection = shard.find_or_none(name)
    if collection is None:
        collection = shard.commit(write)
    _check_same(name, collection.spec, spec, collection.width)
    return collection.describe()


def record_model(
    shard: Shard, name: str, identity: str | None, model: StoredModel
) -> CollectionInfo:
    """Record the model that computes the vectors of a collection; None is any identity.

    Raises:
        StaleCollection: it has another identity, or records another model.
    """

    def write(db: sqlite3.Connection) -> Effect[CollectionInfo]:
        row = staging.require_collection(db, name)
        # Not the open collection: one created in the same commit is not open yet.
        if identity not in (None, row.identity):
            raise StaleCollection(name)
        updated = collection_rows.record_model(db, row, model)

        def effect() -> CollectionInfo:
            collection = shard.find(name)
            follow_model(collection, row, updated)
            return collection.describe()

        return effect

    shard.find_or_none(name)  # raises if the collection is damaged
    return shard.commit(write)


def delete(shard: Shard, name: str, identity: str | None = None) -> None:
    """Delete a collection with all its points; idempotent if the identity is given.

    An ``identity`` says that another shard has deleted or replaced that collection. A complete
    staged collection then replaces it here: the other shard has switched to its staged one, or
    has deleted that as well.

    Raises:
        StaleCollection: it has another identity.
    """
    byte_count(name, "collection")

    def write(db: sqlite3.Connection) -> Effect[None]:
        if is_deleted(db, identity):
            return lambda: None  # an earlier call has deleted it
        row = staging.require_collection(db, name)
        if identity not in (None, row.identity):
            raise StaleCollection(name)
        staged = staging.find_staged(db, name)
        if identity is not None and staged and staging.is_complete(db, row, staged):
            promoted = staging.promote(db, row, staged)
            return lambda: shard.replace(shard.open(promoted))
        staging.discard(db, name)
        rename_collection(db, row, None)
        remember_deleted(db, row.identity)
        return lambda: shard.forget(name)

    shard.commit(write, frees=True)


def deleted(shard: Shard, identities: Sequence[str]) -> list[str]:
    """Return the identities that this shard has recorded as deleted."""
    with shard.store.reader.snapshot() as db:
        return [one for one in identities if is_deleted(db, one)]


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
    with closing(Backup(find_part(shard, folder))) as backup:
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


def follow_model(collection: OpenCollection, before: CollectionRow, after: CollectionRow) -> None:
    """Update the model of an open collection after a write has recorded one."""
    if after.stored == before.stored:
        return
    collection.record(after)
    if before.count:
        logger.info(
            "collection %r has %d points and recorded no model; from now on its model is %s",
            *(after.name, before.count, after.stored),
        )


def _check_same(name: str, existing: Spec, wanted: Spec, width: int | None) -> None:
    """Refuse settings that differ from those of an existing collection."""
    for field, asked, known in (
        ("metric", wanted.metric.value, existing.metric.value),
        ("index", wanted.kind.value, existing.kind.value),
        ("model", wanted.model, existing.model),
        ("width", wanted.width, width),
    ):
        if asked is not None and asked != known:
            raise InvalidInput(field, f"is {asked}; {name!r} exists with {known}")


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
            staging.discard(db, name)
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
