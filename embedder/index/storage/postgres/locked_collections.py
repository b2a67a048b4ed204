"""The collections that a transaction has locked: each is read once, and its changes are known."""

from __future__ import annotations

from typing import TYPE_CHECKING

from embedder.index.storage.postgres.collection_table import COLUMNS, as_collection
from embedder.index.storage.postgres.schema import check_version
from embedder.index.storage.records import CollectionRow
from embedder.index.storage.staging import FILLING_PREFIX, FROZEN_PREFIX, is_staged_name

if TYPE_CHECKING:
    from embedder.index.storage.postgres.connection.limited_connection import LimitedConnection

_LOCK = f"""
SELECT (SELECT version FROM embedder.meta), {COLUMNS} FROM embedder.collections
WHERE shard = %s AND name = ANY(%b) ORDER BY name FOR UPDATE
"""  # noqa: S608 - constants


class LockedCollections:
    """The collections of a shard that the transaction of ``db`` has locked, by name.

    None stands for a staged collection that does not exist, and that no other process creates while
    its source is locked.
    """

    def __init__(self, db: LimitedConnection, shard: int, location: str) -> None:
        self._db = db
        self._shard = shard
        self._location = location
        self._rows: dict[str, CollectionRow | None] = {}

    def find(self, name: str) -> CollectionRow | None:
        """Return the collection of this name, or None, and lock it with its staged ones.

        Raises:
            NewerFormat: a later version has migrated the tables.
        """
        if name not in self._rows:
            self._lock(name)
        return self._rows.get(name)

    def replace(self, row: CollectionRow) -> None:
        """Remember a collection as the transaction has changed it."""
        for name in [name for name, one in self._rows.items() if one and one.id == row.id]:
            del self._rows[name]
        if row.name is not None:
            self._rows[row.name] = row

    def forget(self) -> None:
        """Read all collections again, after a part of the transaction was undone."""
        self._rows.clear()

    def _lock(self, name: str) -> None:
        # The second statement sees what the first one has waited for. In a pipeline, both take one
        # round trip.
        staged = [] if is_staged_name(name) else [FILLING_PREFIX + name, FROZEN_PREFIX + name]
        given = [[name.encode()], [one.encode() for one in staged]]
        asked = [self._db.execute(_LOCK, (self._shard, some), binary=True) for some in given]
        for version, *values in self._db.fetched(*asked):
            check_version(version, self._location)
            row = as_collection(values, self._location)
            self._rows[str(row.name)] = row
        if name in self._rows:
            for one in staged:
                self._rows.setdefault(one, None)
