"""Decides how shards whose collections of one name differ get to the same collection again."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from embedder.core.errors import Unavailable


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """The identity to delete on some shards, and the shards on which to create ``identity``.

    Shards are numbers. ``identity`` is None if no collection has the name afterwards.
    """

    identity: str | None
    deletes: Mapping[int, str]
    creates: Collection[int]


def reconcile(name: str, has: Mapping[int, str | None], deleted: Collection[str]) -> Reconciliation:
    """Complete creations and deletions that reached only some shards.

    ``has`` holds the identity on each shard that answers, None without a collection of the name.
    ``deleted`` holds those identities that a shard has recorded as deleted; others are kept.

    Raises:
        Unavailable: the shards have different collections, and none is recorded as deleted.
    """
    kept = {one for one in has.values() if one is not None and one not in deleted}
    if len(kept) > 1:
        raise Unavailable(
            f"the shards have different collections named {name!r}: delete it, or restore a backup"
        )
    identity = next(iter(kept), None)
    deletes = {at: one for at, one in has.items() if one is not None and one in deleted}
    creates = [at for at, one in has.items() if identity is not None and one != identity]
    return Reconciliation(identity, deletes, creates)
