"""Create, restore and delete collections, and record their models; shards reconcile by these calls.

Each collection has an identity, equal in all shards and new after each deletion. A restored
collection is invisible until it is complete. A crash leaves a collection without a name, and the
next start deletes it.
"""

from __future__ import annotations

import logging
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
from embedder.index.segments.scoring import normalize
from embedder.index.shard import Shard
from embedder.index.storage import staging
from embedder.index.storage.failpoints import reach
from embedder.index.storage.protocol import Effect, Transaction, Write
from embedder.index.storage.publishing import publish
from embedder.index.storage.records import CollectionRow
from embedder.index.storage.row_encoding import EncodedRows

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

    def write(rows: Transaction) -> Effect[OpenCollection]:
        row = rows.find_collection(name) or rows.insert_collection(name, spec)
        return lambda: shard.register(row)

    shard.follow([name])
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

    def write(rows: Transaction) -> Effect[CollectionInfo]:
        row = staging.require_collection(rows, name)
        # Not the open collection: one created in the same commit is not open yet.
        if identity not in (None, row.identity):
            raise StaleCollection(name)
        updated = rows.update_collection(row.with_model(model))

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

    def write(rows: Transaction) -> Effect[None]:
        if identity is not None and rows.deleted_among([identity]):
            return lambda: None  # an earlier call has deleted it
        row = staging.require_collection(rows, name)
        if identity not in (None, row.identity):
            raise StaleCollection(name)
        staged = staging.find_staged(rows, name)
        if identity is not None and staged and staging.is_complete(rows, row, staged):
            promoted = staging.promote(rows, row, staged)
            return lambda: shard.replace(shard.open(promoted))
        staging.discard(rows, name)
        rows.delete_collection(row)
        return lambda: shard.forget(name)

    shard.commit(write, frees=True)


def deleted(shard: Shard, identities: Sequence[str]) -> list[str]:
    """Return the identities that this shard has recorded as deleted."""
    with shard.store.reader.snapshot() as rows:
        return rows.deleted_among(identities)


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
        StaleCollection: the collection was deleted before it was complete in this shard.
    """
    with closing(Backup(find_part(shard, folder))) as backup:
        name = name or backup.manifest.name
        check_name(name)
        shard.follow([name])
        taken = None if replacing else _taken(name)
        if taken is not None and _is_another(shard, name, identity):
            raise taken
        spec = replace(backup.row.spec, identity=identity)

        def begin(rows: Transaction) -> Effect[CollectionRow]:
            row = rows.insert_collection(None, spec)
            shard.restoring.add(row.id)
            return lambda: row

        row = shard.commit(begin)
        try:
            for chunk in backup.rows():
                row = shard.commit(_insert(row, chunk))
            return _publish(shard, row, name, taken)
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


def _insert(row: CollectionRow, chunk: EncodedRows) -> Write[CollectionRow]:
    def write(rows: Transaction) -> Effect[CollectionRow]:
        _, updated = rows.upsert(row, chunk)
        return lambda: updated

    return write


def _publish(
    shard: Shard, row: CollectionRow, name: str, taken: InvalidInput | None
) -> CollectionInfo:
    # Loaded before it has a name, so that the writer does not wait for it.
    collection = shard.open(replace(row, name=name))
    reach("restore.before_name")

    def write(rows: Transaction) -> Effect[CollectionInfo]:
        published, changes = publish(rows, row, name, taken)

        def effect() -> CollectionInfo:
            follow_model(collection, row, published)
            for change in changes:
                vectors = normalize(collection.metric, change.vectors)
                collection.apply(replace(change, vectors=vectors))
            shard.replace(collection)
            return collection.describe()

        return effect

    return shard.commit(write)


def _is_another(shard: Shard, name: str, identity: str | None) -> bool:
    """Say whether the name belongs to another collection; a service may have created this one."""
    known = shard.collections.open.get(name)
    return name in shard.collections and (known is None or known.spec.identity != identity)


def _taken(name: str) -> InvalidInput:
    problem = f"{name!r} exists already; give it another name, or replace it"
    return InvalidInput("collection", problem)
