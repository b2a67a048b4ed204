"""Looks a collection up in all shards; completes deletions and creations that some have missed.

The first look-up after the return of a shard brings it to the state of the others.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence

from deployments.index.client import RemoteShard
from deployments.index.gathering import LOST, gather_all
from embedder.core.errors import UnknownCollection
from embedder.core.storage_errors import StaleCollection
from embedder.index import sharding
from embedder.index.contract.points import CollectionInfo
from embedder.index.contract.reconciliation import reconcile


async def look_up(
    shards: Sequence[RemoteShard], name: str, deadline: float | None
) -> CollectionInfo | None:
    """Return what is known of a collection in the shards that answer, None where there is none.

    Raises:
        StaleCollection: another call changes the collection at the same time.
        Unavailable: no shard answers, or they have different collections that none has deleted.
    """
    told = await asyncio.gather(
        *(shard.call(deadline, "describe", name) for shard in shards), return_exceptions=True
    )
    infos: dict[int, CollectionInfo | None] = {}
    for at, one in enumerate(told):
        if isinstance(one, UnknownCollection):
            infos[at] = None
        elif not isinstance(one, BaseException):
            infos[at] = one
        elif not isinstance(one, LOST):
            raise one
    if not infos:
        raise next(one for one in told if isinstance(one, BaseException))
    found = [info for info in infos.values() if info is not None]
    identities = {info.identity for info in found}
    if len(identities) > 1 or len(found) < len(infos):
        found = await _repaired(shards, name, infos, sorted(identities), deadline)
    return sharding.merge_infos(found) if found else None


async def all_collections(
    shards: Sequence[RemoteShard], deadline: float | None
) -> list[CollectionInfo]:
    """Return what is known of every collection, by name.

    Raises:
        Unavailable: a shard does not answer.
    """
    told: dict[str, list[CollectionInfo]] = defaultdict(list)
    for infos in await gather_all(shard.call(deadline, "collections") for shard in shards):
        for info in infos:
            told[info.name].append(info)
    found: list[CollectionInfo] = []
    for name in sorted(told):
        infos = told[name]
        whole = len(infos) == len(shards) and len({info.identity for info in infos}) == 1
        info = sharding.merge_infos(infos) if whole else await look_up(shards, name, deadline)
        found += [] if info is None else [info]
    return found


async def delete_everywhere(
    shards: Sequence[RemoteShard], name: str, deadline: float | None
) -> None:
    """Delete a collection in all shards that answer.

    Raises:
        UnknownCollection: none of them has it.
        Unavailable: a shard does not answer; the others have deleted the collection.
    """
    told = await asyncio.gather(
        *(shard.call(deadline, "delete", name) for shard in shards), return_exceptions=True
    )
    errors = [one for one in told if isinstance(one, BaseException)]
    failures = [one for one in errors if not isinstance(one, UnknownCollection)]
    if failures or len(errors) == len(told):
        raise [*failures, *errors][0]


async def _repaired(
    shards: Sequence[RemoteShard],
    name: str,
    infos: dict[int, CollectionInfo | None],
    identities: list[str],
    deadline: float | None,
) -> list[CollectionInfo]:
    """Reconcile the shards that answer, and return what they know of the collection then."""
    if not identities:
        return []
    gone = await gather_all(shards[at].call(deadline, "deleted", identities) for at in infos)
    has = {at: info.identity if info else None for at, info in infos.items()}
    agreement = reconcile(name, has, {one for told in gone for one in told})
    try:
        await gather_all(
            shards[at].call(deadline, "drop", name, identity)
            for at, identity in agreement.deletes.items()
        )
    except UnknownCollection:
        # Another ingress has done the same.
        raise StaleCollection(name) from None
    kept = [info for info in infos.values() if info and info.identity == agreement.identity]
    if not kept:
        return []
    spec = sharding.spec_of(sharding.merge_infos(kept))
    made = await gather_all(
        shards[at].call(deadline, "create", name, spec) for at in agreement.creates
    )
    return [*kept, *made]
