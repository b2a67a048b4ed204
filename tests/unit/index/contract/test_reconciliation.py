"""Whatever reached which shard before it went away, all of them reconcile when they are back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedder.core.errors import Unavailable
from embedder.index.contract.reconciliation import reconcile

SHARDS = 3
STEPS = st.lists(
    st.tuples(st.sampled_from(["create", "delete"]), st.sets(st.integers(1, SHARDS - 1))),
    max_size=8,
)
"""What is asked for, and the shards that are away meanwhile; the first one is always there."""


class Shards:
    """Shards as they are written to: what each has, and what each knows to be deleted."""

    def __init__(self) -> None:
        self.has: dict[int, str | None] = dict.fromkeys(range(SHARDS))
        self.deleted: dict[int, set[str]] = {at: set() for at in range(SHARDS)}

    def repair(self, here: set[int]) -> str | None:
        """Have the shards that are here reconcile; return the identity."""
        has = {at: self.has[at] for at in here}
        known = set().union(*(self.deleted[at] for at in here))
        agreement = reconcile("c", has, known)
        for at, identity in agreement.deletes.items():
            self.delete(at)
            assert identity in self.deleted[at]
        for at in agreement.creates:
            assert self.has[at] is None
            self.has[at] = agreement.identity
        assert {self.has[at] for at in here} == {agreement.identity}
        return agreement.identity

    def delete(self, at: int) -> None:
        """Delete what one shard has."""
        identity = self.has[at]
        if identity is not None:
            self.deleted[at].add(identity)
        self.has[at] = None


@given(STEPS)
def test_the_last_creation_or_deletion_counts_whoever_was_away(
    steps: list[tuple[str, set[int]]],
) -> None:
    shards = Shards()
    expected: str | None = None
    for number, (step, away) in enumerate(steps):
        here = set(range(SHARDS)) - away
        if step == "create":
            found = shards.repair(here)
            assert found == expected
            if expected is None:
                expected = f"identity {number}"
                for at in here:
                    shards.has[at] = expected
        else:
            for at in here:
                shards.delete(at)
            expected = None
    everybody = set(range(SHARDS))

    assert shards.repair(everybody) == expected
    assert shards.repair(everybody) == expected, "the same again changes nothing"


def test_what_nobody_deleted_is_never_thrown_away() -> None:
    with pytest.raises(Unavailable, match="different collections named 'c'"):
        reconcile("c", {0: "one", 1: "other", 2: None}, [])


def test_a_shard_without_the_collection_gets_it() -> None:
    agreement = reconcile("c", {0: None, 1: "one"}, [])

    assert (agreement.identity, agreement.deletes, list(agreement.creates)) == ("one", {}, [0])
