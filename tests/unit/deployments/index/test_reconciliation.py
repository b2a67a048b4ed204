"""Shards that missed creations or deletions have the same collection after reconciliation."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.index.shard_repair import reconcile
from embedder.core.errors import Unavailable

SHARDS = 3
STEPS = st.lists(
    st.tuples(st.sampled_from(["create", "delete"]), st.sets(st.integers(1, SHARDS - 1))),
    max_size=8,
)
"""Operations, each with the shards that are unavailable during it; shard 0 is always available."""


class Shards:
    """The identity on each shard, and the identities that each has recorded as deleted."""

    def __init__(self) -> None:
        self.has: dict[int, str | None] = dict.fromkeys(range(SHARDS))
        self.deleted: dict[int, set[str]] = {at: set() for at in range(SHARDS)}

    def repair(self, available: set[int]) -> str | None:
        """Reconcile the available shards; return the identity."""
        has = {at: self.has[at] for at in available}
        known = set().union(*(self.deleted[at] for at in available))
        result = reconcile("c", has, known)
        for at, identity in result.deletes.items():
            self.delete(at)
            assert identity in self.deleted[at]
        for at in result.creates:
            assert self.has[at] is None
            self.has[at] = result.identity
        assert {self.has[at] for at in available} == {result.identity}
        return result.identity

    def delete(self, at: int) -> None:
        """Delete the collection on one shard."""
        identity = self.has[at]
        if identity is not None:
            self.deleted[at].add(identity)
        self.has[at] = None


@given(STEPS)
def test_the_last_creation_or_deletion_wins(
    steps: list[tuple[str, set[int]]],
) -> None:
    shards = Shards()
    expected: str | None = None
    for number, (step, unavailable) in enumerate(steps):
        available = set(range(SHARDS)) - unavailable
        if step == "create":
            found = shards.repair(available)
            assert found == expected
            if expected is None:
                expected = f"identity {number}"
                for at in available:
                    shards.has[at] = expected
        else:
            for at in available:
                shards.delete(at)
            expected = None
    every_shard = set(range(SHARDS))

    assert shards.repair(every_shard) == expected
    assert shards.repair(every_shard) == expected, "the same again changes nothing"


def test_a_collection_that_no_shard_deleted_is_kept() -> None:
    with pytest.raises(Unavailable, match="different collections named 'c'"):
        reconcile("c", {0: "one", 1: "other", 2: None}, [])


def test_the_collection_is_created_on_a_shard_without_it() -> None:
    result = reconcile("c", {0: None, 1: "one"}, [])

    assert (result.identity, result.deletes, list(result.creates)) == ("one", {}, [0])
