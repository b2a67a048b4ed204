"""The possible contents of a collection, derived from the answers to writes.

A write that was answered leaves one possibility; one that was not leaves two, of which the
collection has to keep either. Knows nothing of how writes are sent.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping

import numpy as np

from embedder.core.types import Vectors

WIDTH = 16
State = int | None
"""The version of a point, or None if it does not exist."""


def vector_of(name: str, version: int) -> Vectors:
    """Return the vector float32[WIDTH] that a version of a point has, and no other."""
    digest = hashlib.blake2b(f"{name} {version}".encode(), digest_size=8).digest()
    random = np.random.default_rng(int.from_bytes(digest, "little"))
    return random.standard_normal(WIDTH).astype(np.float32)


class Oracle:
    """Which states every point may be in."""

    def __init__(self) -> None:
        self._possible: defaultdict[str, set[State]] = defaultdict(lambda: {None})

    def wrote(self, names: Iterable[str], state: State, *, answered: bool) -> None:
        """Note that points were set to a version, or deleted."""
        for name in names:
            self._possible[name] = {state} if answered else {*self._possible[name], state}

    def certain(self) -> int:
        """Return of how many points the state is known."""
        return sum(len(states) == 1 for states in self._possible.values())

    def names(self) -> list[str]:
        """Return all points that were ever written."""
        return list(self._possible)

    def wrong(self, found: Mapping[str, int]) -> dict[str, tuple[set[State], State]]:
        """Return the contradictions: the possible states of a point, and the found state."""
        return {
            name: (self._possible[name], found.get(name))
            for name in {*self._possible, *found}
            if found.get(name) not in self._possible[name]
        }

    def settle(self, found: Mapping[str, int]) -> None:
        """Expect the found state from now on."""
        for name in self._possible:
            self._possible[name] = {found.get(name)}
