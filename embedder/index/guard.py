"""Refuses the calls of a shard that has failed, and records the damage that a call finds."""

from __future__ import annotations

from types import TracebackType
from typing import Protocol

from embedder.core.storage_errors import StorageDamaged


class Guarded(Protocol):
    """What may fail: a shard."""

    def check(self) -> None:
        """Raise the error of a failed shard."""

    def fail(self, error: StorageDamaged) -> None:
        """Refuse all later calls, or those for the damaged collection that the error names."""


class Guard:
    """A context in which damage that is found makes the shard refuse collection ``name``.

    Every search enters two, so it is no generator, which would take three times as long.
    """

    __slots__ = ("_name", "_shard")

    def __init__(self, shard: Guarded, name: str) -> None:
        self._shard, self._name = shard, name

    def __enter__(self) -> None:
        self._shard.check()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if isinstance(error, StorageDamaged):
            named = error.of(self._name)
            self._shard.fail(named)
            raise named from error
