"""Copy, restore and export collections of stored indexes without a service."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from deployments.operations.stored_index import StoredIndex
from embedder.core.errors import ConfigurationError, InvalidInput
from embedder.index.backup import Backup, find_parts
from embedder.index.contract.checks import check_name
from embedder.index.offline.copying import (
    Copy,
    Part,
    Progress,
    discard_copies,
    free_identity,
    run_copy,
)
from embedder.index.offline.points_digest import PointsDigest
from embedder.index.parquet import part_of, write_part
from embedder.index.storage.reader import Snapshot
from embedder.index.storage.staging import find_staged, is_staged_name

Bar = Callable[[int], AbstractContextManager[Progress]]
"""Begins to show the progress of an operation that reads so many points."""


@dataclass(frozen=True, slots=True)
class Copied:
    """A copied and verified collection; its unfinished re-embedding is not copied."""

    name: str
    digest: PointsDigest
    was_being_reembedded: bool


def copy(
    source: StoredIndex, target: StoredIndex, names: Sequence[str], bar: Bar
) -> Iterator[Copied]:
    """Copy collections one after the other, all without ``names``; see `run_copy`.

    Raises:
        ConfigurationError: both are the same index, one is in use by a service, or a collection is
            not in all shards of the source.
        InvalidInput: the source has no collection of a given name, or the target has another one.
    """
    if source.is_same(target):
        raise ConfigurationError("an index cannot be copied into itself")
    with source.rows() as rows, target.stores() as stores:
        found = sorted({row.name for shard in rows for row in shard.collections() if row.name})
        for name in names or [one for one in found if not is_staged_name(one)]:
            parts = _parts(rows, name)
            identity = free_identity(parts[0].row.identity, stores)
            with bar(2 * sum(part.row.count for part in parts)) as progress:
                digest = run_copy(Copy(parts, name, identity), stores, progress)
            staged = any(find_staged(shard, name) for shard in rows)
            yield Copied(name, digest, was_being_reembedded=staged)


def abandon(target: StoredIndex) -> list[str]:
    """Delete the unfinished copies in an index; return the names of their collections.

    Raises:
        ConfigurationError: the index is in use by a service, or cannot be used.
    """
    with target.stores() as stores:
        return sorted({name for store in stores for name in discard_copies(store)})


def restore(index: StoredIndex, folder: Path, name: str, *, replacing: bool, bar: Bar) -> int:
    """Create a collection from a backup of any number of shards; return its number of points.

    If interrupted, the same call continues, where needed with ``replacing``.

    Raises:
        BadBackup: the backup is damaged or incomplete.
        InvalidInput: the name is invalid, or exists and ``replacing`` is not set.
    """
    check_name(name)
    with ExitStack() as stack:
        backups = [stack.enter_context(closing(Backup(part))) for part in find_parts(folder)]
        stores = stack.enter_context(index.stores())
        if not replacing:
            _refuse_taken(stack.enter_context(stores[0].reader.snapshot()), name)
        parts = [Part(backup.row, backup.rows) for backup in backups]
        copied = Copy(parts, name, uuid.uuid4().hex, replacing=replacing)
        with bar(2 * sum(part.row.count for part in parts)) as progress:
            return run_copy(copied, stores, progress).count


def export(index: StoredIndex, name: str, file: Path) -> int:
    """Write a collection to Parquet, a part for each shard; return the number of points.

    Raises:
        MissingExtra: pyarrow is not installed.
        NotWritten: the file exists, or cannot be written.
        InvalidInput: there is no collection with this name.
    """
    with index.rows() as rows:
        parts = zip(_parts(rows, name), rows, index.names, strict=True)
        return sum(
            write_part(shard, name, part_of(file, own, index.shards)) for _, shard, own in parts
        )


def _parts(rows: Sequence[Snapshot], name: str) -> list[Part]:
    """Return the parts of a collection in all shards."""
    found = [None if is_staged_name(name) else shard.find_collection(name) for shard in rows]
    there = [row for row in found if row is not None]
    if not there:
        raise _unknown(name, rows)
    if len(there) < len(rows) or len({row.identity for row in there}) > 1:
        raise ConfigurationError(
            f"the shards do not agree about collection {name!r}: start the service, and request "
            "the collection once, which completes its creation or deletion"
        )
    return [Part(row, partial(shard.scan, row)) for row, shard in zip(there, rows, strict=True)]


def _unknown(name: str, rows: Sequence[Snapshot]) -> InvalidInput:
    known = {str(row.name) for shard in rows for row in shard.collections()}
    there = sorted(one for one in known if not is_staged_name(one))
    problem = f"names {name!r}, which does not exist; there are: {', '.join(there) or 'none'}"
    return InvalidInput("collection", problem)


def _refuse_taken(rows: Snapshot, name: str) -> None:
    if rows.find_collection(name) is not None:
        problem = f"{name!r} exists already; give another name, or replace it with --replace"
        raise InvalidInput("collection", problem)
