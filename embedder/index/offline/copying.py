"""Copy a collection into the stores of an index, of any database and number of shards.

Until all points are there and verified, the copy has a name that no client can use, and an identity
that names the state of its source. A part of the copy holds the first of its points in the order of
the source. So an interrupted copy of an unchanged source continues where it stopped; after a change
of the source it begins again.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from embedder.core.errors import ConfigurationError, InvalidInput
from embedder.core.storage_errors import StorageDamaged
from embedder.index import sharding
from embedder.index.contract.points import Spec
from embedder.index.offline.points_digest import PointsDigest
from embedder.index.storage import staging
from embedder.index.storage.protocol import Effect, Store, T, Transaction, Write
from embedder.index.storage.publishing import publish
from embedder.index.storage.reader import Snapshot
from embedder.index.storage.records import CollectionRow
from embedder.index.storage.row_encoding import EncodedRows

PREFIX = f"{staging.FILLING_PREFIX}copy:"
"""Begins the name of an unfinished copy; no name of a client contains a colon."""

Progress = Callable[[int], object]
"""Receives the number of points that were read since the last call."""


@dataclass(frozen=True, slots=True)
class Part:
    """A shard's part of a copied collection; ``chunks`` yields its points from the first."""

    row: CollectionRow
    chunks: Callable[[], Iterator[EncodedRows]]


@dataclass(frozen=True, slots=True)
class Copy:
    """A copy of all parts of a collection, under ``name`` and with ``identity``.

    With ``replacing``, it replaces a collection of this name. Without, a collection of this name
    and identity is an earlier copy, which is only verified.
    """

    source: Sequence[Part]
    name: str
    identity: str
    replacing: bool = False

    @property
    def spec(self) -> Spec:
        """Return the settings of the source, of which an empty part may lack some."""
        specs = [part.row.spec for part in self.source]
        widths = [one.width for one in specs if one.width is not None]
        recorded = next((one for one in specs if one.stored is not None), specs[0])
        return replace(recorded, width=widths[0] if widths else None)

    @property
    def state(self) -> str:
        """Return an identity that names the present state of the source."""
        parts = sorted(repr(part.row) for part in self.source)
        return f"copy-{hashlib.sha256(repr(parts).encode()).hexdigest()}"


def run_copy(copy: Copy, targets: Sequence[Store], progress: Progress) -> PointsDigest:
    """Copy a collection, verify the copy and give it its name; return the digest of its points.

    Every point is read once from the source and once from the targets.

    Raises:
        ConfigurationError: the copy differs from its source; none of it is kept.
        InvalidInput: the targets have another collection of this name.
        StorageDamaged: a row of the source or the targets fails its checksum.
    """
    for store in targets:
        with store.reader.snapshot() as rows:
            _find_earlier(copy, rows)
    begun = [_commit(store, _begin(copy)) for store in targets]
    try:
        expected = _fill(copy, targets, begun, progress)
        found = _read_back(copy, targets, progress)
    except StorageDamaged as error:
        raise error.of(copy.name) from error
    if found != expected:
        for store in targets:
            _commit(store, _discard(copy.name))
        raise ConfigurationError(_difference(copy, begun, expected, found))
    for store in targets:
        _commit(store, _publish(copy))
    return found


def discard_copies(store: Store) -> list[str]:
    """Delete the unfinished copies in a store; return the names of their collections."""
    with store.reader.snapshot() as rows:
        copies = [str(row.name) for row in rows.collections() if str(row.name).startswith(PREFIX)]
    names = [name.removeprefix(PREFIX) for name in copies]
    for name in names:
        _commit(store, _discard(name))
    return names


def free_identity(identity: str, targets: Sequence[Store]) -> str:
    """Return an identity that no target records as deleted: the given one, or one made of it."""
    for store in targets:
        with store.reader.snapshot() as rows:
            if rows.deleted_among([identity]):
                following = hashlib.sha256(identity.encode()).hexdigest()[:32]
                return free_identity(following, targets)
    return identity


def _find_earlier(copy: Copy, rows: Snapshot) -> CollectionRow | None:
    """Return the finished part of an earlier run of the same copy, or None."""
    existing = None if copy.replacing else rows.find_collection(copy.name)
    if existing is not None and existing.identity != copy.identity:
        raise _taken(copy.name)
    return existing


def _taken(name: str) -> InvalidInput:
    problem = f"{name!r} exists already, and is not a copy of this source: delete it there first"
    return InvalidInput("collection", problem)


def _begin(copy: Copy) -> Write[CollectionRow]:
    """Return a write that finds or inserts the part of the copy in one shard."""

    def write(rows: Transaction) -> Effect[CollectionRow]:
        finished, row = _find_earlier(copy, rows), rows.find_collection(PREFIX + copy.name)
        if row is not None and row.identity != copy.state:
            rows.update_collection(replace(row, name=None))
            row = None
        row = row or finished
        if row is None:
            spec = replace(copy.spec, identity=copy.state)
            row = rows.insert_collection(PREFIX + copy.name, spec)
        return lambda: row

    return write


def _fill(
    copy: Copy, targets: Sequence[Store], begun: Sequence[CollectionRow], progress: Progress
) -> PointsDigest:
    """Store the points that are missing in each part; return the digest of all points."""
    digest = PointsDigest()
    skipped = [sys.maxsize if row.name == copy.name else row.count for row in begun]
    for part in copy.source:
        for chunk in part.chunks():
            digest.add(chunk)
            writes = []
            for shard, positions in sharding.rows_by_shard(chunk.ids, len(targets)).items():
                missing = positions[skipped[shard] :]
                skipped[shard] -= len(positions) - len(missing)
                if missing:
                    writes.append(targets[shard].submit(_append(copy, chunk.select(missing))))
            for written in writes:
                written.result()
            progress(len(chunk))
    return digest


def _append(copy: Copy, rows_of_part: EncodedRows) -> Write[None]:
    def write(rows: Transaction) -> Effect[None]:
        row = rows.find_collection(PREFIX + copy.name)
        if row is None:
            raise ConfigurationError(
                f"another command has completed or discarded the copy of {copy.name!r}: run this "
                "one again"
            )
        rows.upsert(row, rows_of_part)
        return lambda: None

    return write


def _read_back(copy: Copy, targets: Sequence[Store], progress: Progress) -> PointsDigest:
    digest = PointsDigest()
    for store in targets:
        with store.reader.snapshot() as rows:
            row = rows.find_collection(PREFIX + copy.name) or _find_earlier(copy, rows)
            for chunk in rows.scan(row) if row is not None else ():
                digest.add(chunk)
                progress(len(chunk))
    return digest


def _difference(
    copy: Copy, begun: Sequence[CollectionRow], expected: PointsDigest, found: PointsDigest
) -> str:
    told = (
        f"{copy.name!r} has {expected.count:,} points with the checksum {expected} in the source, "
        f"and {found.count:,} with {found} in the target"
    )
    if any(row.name == copy.name for row in begun):
        return f"{told}: one of the two has changed since an earlier copy; delete it in the target"
    return f"{told}: the copy is discarded; run the command again"


def _discard(name: str) -> Write[None]:
    def write(rows: Transaction) -> Effect[None]:
        row = rows.find_collection(PREFIX + name)
        if row is not None:
            rows.update_collection(replace(row, name=None))
        return lambda: None

    return write


def _publish(copy: Copy) -> Write[None]:
    """Return a write that gives the part of one shard its name and identity."""

    def write(rows: Transaction) -> Effect[None]:
        row = rows.find_collection(PREFIX + copy.name)
        if row is None:  # published by an earlier run
            return lambda: None
        taken = None if copy.replacing else _taken(copy.name)
        publish(rows, replace(row, identity=copy.identity), copy.name, taken)
        return lambda: None

    return write


def _commit(store: Store, write: Write[T]) -> T:
    return store.submit(write).result()
