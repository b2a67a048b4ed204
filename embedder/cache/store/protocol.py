"""The protocols of cache stores, which keep records beyond the life of a process.

The methods of a store block and are called from one thread. A local store belongs to one cache and
holds the same records; a shared store serves several caches and may hold more than each of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from embedder.cache.store.records import Records


@dataclass(slots=True)
class StoreStats:
    """The size of a store, ``bytes`` on the disk, and counters since it was created.

    ``rows`` counts appended rows that have not been removed, ``read`` those that the last
    `LocalStore.load` has read. ``corrupt`` rows were dropped; ``renamed_files`` counts damaged or
    foreign files, which were renamed.
    """

    rows: int = 0
    read: int = 0
    bytes: int = 0
    corrupt: int = 0
    renamed_files: int = 0


class Store(Protocol):
    """Keeps records. Every method may raise `StageUnavailable` and may then be called again."""

    stats: StoreStats

    @property
    def is_open(self) -> bool:
        """Tell whether the store can be used; a store that is found damaged is closed."""

    def open(self) -> None:
        """Make the store ready for use; do nothing if it is open."""

    def put_many(self, records: Records) -> None:
        """Keep the records; replace others with the same keys."""

    def purge(self, tag: bytes) -> None:
        """Delete all present keys of one model, at once or in steps."""

    def clear(self) -> None:
        """Delete everything."""

    def close(self) -> None:
        """Close the store; all records are saved."""


@runtime_checkable
class LocalStore(Store, Protocol):
    """Keeps the records of one cache, which loads them when it starts."""

    def load(self) -> Iterator[Records]:
        """Yield all live records, newest first, a few hundred at a time."""

    def delete_many(self, keys: Sequence[bytes]) -> None:
        """Delete these keys."""

    def serves(self, models: Mapping[str, bytes]) -> None:
        """Set the served models (name to tag); delete the keys of models that they replace."""

    def oldest(self, count: int) -> tuple[int, list[bytes]]:
        """Return the last number and the valid keys of the oldest ``count`` rows."""

    def renew(self, upto: int, records: Sequence[Records]) -> None:
        """Put these records and delete all rows up to ``upto``, in one transaction."""


@runtime_checkable
class SharedStore(Store, Protocol):
    """Keeps records for several caches, which look up keys that they lack."""

    def get_many(self, keys: Sequence[bytes], width: int) -> Records:
        """Return the records of ``width`` components, in any order; thread-safe."""
