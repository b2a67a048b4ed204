"""What a cache asks of a place that outlives its process, and what it may be told of it.

A store is called from one thread and takes its time there. A local one belongs to one cache and
holds what that cache holds; a shared one serves several, and may hold more than any of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from embedder.cache.store.records import Records


@dataclass(slots=True)
class StoreStats:
    """What a store holds, ``bytes`` on the disk, and counters since it was made.

    ``rows`` counts all that was appended and not yet cleaned away, ``read`` those of them that the
    last `LocalStore.load` has been through. ``corrupt`` rows were dropped, damaged or foreign files
    ``set_aside``.
    """

    rows: int = 0
    read: int = 0
    bytes: int = 0
    corrupt: int = 0
    set_aside: int = 0


class Store(Protocol):
    """Keeps records. Every method may raise `StageUnavailable`, and may then be called again."""

    stats: StoreStats

    @property
    def is_open(self) -> bool:
        """Tell whether it can be used: a store that turns out to be damaged is open no more."""

    def open(self) -> None:
        """Make it ready for use; nothing happens where it is."""

    def put_many(self, records: Records) -> None:
        """Keep the records in place of others under their keys."""

    def delete_many(self, keys: Sequence[bytes]) -> None:
        """Forget what is under these keys."""

    def purge(self, tag: bytes) -> None:
        """Forget everything of one model, now or little by little, but for what is put later."""

    def clear(self) -> None:
        """Forget everything."""

    def close(self) -> None:
        """Let it go; what was put is safe."""


@runtime_checkable
class LocalStore(Store, Protocol):
    """Keeps the records of one cache, which are read back when that starts."""

    def load(self) -> Iterator[Records]:
        """Give all that is alive, what was put last first, a few hundred records at a time."""

    def serves(self, models: Mapping[str, bytes]) -> None:
        """Forget what models had that were served under these names, and are now under none."""

    def oldest(self, count: int) -> tuple[int, list[bytes]]:
        """Return the keys of the rows that were put longest ago, and the number of the last."""

    def renew(self, upto: int, records: Sequence[Records]) -> None:
        """Put these records, and forget all rows up to the number, both or neither."""


@runtime_checkable
class SharedStore(Store, Protocol):
    """Keeps records for several caches, which ask it for what they have not."""

    def get_many(self, keys: Sequence[bytes], width: int) -> Records:
        """Return what is there of ``width`` components, in any order; from several threads."""
