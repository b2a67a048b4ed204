"""The changes after which shards with different collections of one name have the same one.

A pure function of which identity each shard has, and of which are known to be deleted. Knows
nothing of where shards live.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from embedder.core.errors import Unavailable


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """What each shard does: delete the collection of an identity, or make that of ``identity``.

    Shards are known by their numbers. ``identity`` is None where the name has no collection.
    """

    identity: str | None
    deletes: Mapping[int, str]
    creates: Collection[int]


def reconcile(name: str, has: Mapping[int, str | None], deleted: Collection[str]) -> Reconciliation:
    """Complete deletions and creations that reached some shards only.

    ``has`` gives the identity in each shard that answers, None where it has no such name;
    ``deleted`` are those of them that some shard knows to be deleted. A collection that no shard
    knows to be deleted is kept.

    Raises:
        Unavailable: shards have different collections, and none of them is known to be deleted.
    """
    living = {one for one in has.values() if one is not None and one not in deleted}
    if len(living) > 1:
        raise Unavailable(
            f"the shards have different collections named {name!r}: delete it, or restore a backup"
        )
    identity = next(iter(living), None)
    deletes = {at: one for at, one in has.items() if one is not None and one in deleted}
    creates = [at for at, one in has.items() if identity is not None and one != identity]
    return Reconciliation(identity, deletes, creates)
