"""What a check of every row of a shard has found."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CheckedCollection:
    """One collection of a shard; ``problem`` is None if it is undamaged."""

    name: str
    count: int
    problem: str | None


@dataclass(frozen=True, slots=True)
class Inspection:
    """The collections of a shard; ``problem`` concerns all its data, None if it is undamaged."""

    problem: str | None
    collections: list[CheckedCollection]

    @property
    def is_undamaged(self) -> bool:
        """Say whether nothing is damaged."""
        return self.problem is None and not any(one.problem for one in self.collections)
