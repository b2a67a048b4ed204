"""Looks up a collection in all shards, and completes deletions and creations that shards missed.

After a shard returns, the first look-up brings it to the state of the others.
"""

from __future__ import annotations

import asyncio
import uuid
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from deployments.index.client import RemoteShard
from deployments.index.gathering import LOST, errors_in, gather_all
from embedder.core.deadline import Deadline
from embedder.core.errors import Unavailable, UnknownCollection
from embedder.core.storage_errors import StaleCollection
from embedder.index import sharding
from embedder.index.contract.points import CollectionInfo, Consistency, Spec
from embedder.index.vector_index import VectorIndex


async def look_up(
    shards: Sequence[RemoteShard],
    name: str,
    deadline: Deadline,
    consistency: Consistency = "latest",
) -> CollectionInfo | None:
    """Return the description of a collection from the shards that answer; None if it is unknown.

    With ``stale`` the shards may have it at different moments, and nothing is repaired.

    Raises:
        StaleCollection: another call changes the collection at the same time.
        Unavailable: no shard answers, or shards have different collections that none has deleted.
    """
    results = await asyncio.gather(
        *(shard.call(deadline, VectorIndex.describe, name, consistency) for shard in shards),
        return_exceptions=True,
    )
    infos: dict[int, CollectionInfo | None] = {}
    for number, result in enumerate(results):
        if isinstance(result, UnknownCollection):
            infos[number] = None
        elif not isinstance(result, BaseException):
            infos[number] = result
        elif not isinstance(result, LOST):
            raise result
    if not infos:
        raise errors_in(results)[0]
    found = [info for info in infos.values() if info is not None]
    identities = {info.identity for info in found}
    if consistency == "latest" and (len(identities) > 1 or len(found) < len(infos)):
        found = await _repair(shards, name, infos, sorted(identities), deadline)
    return sharding.merge_infos(found) if found else None


async def all_collections(
    shards: Sequence[RemoteShard], deadline: Deadline, consistency: Consistency = "latest"
) -> list[CollectionInfo]:
    """Return the descriptions of all collections, by name; ``consistency`` as for `look_up`.

    Raises:
        Unavailable: a shard does not answer.
    """
    by_name: dict[str, list[CollectionInfo]] = defaultdict(list)
    for infos in await gather_all(
        shard.call(deadline, VectorIndex.collections, consistency) for shard in shards
    ):
        for info in infos:
            by_name[info.name].append(info)
    found: list[CollectionInfo] = []
    for name in sorted(by_name):
        infos = by_name[name]
        consistent = len(infos) == len(shards) and len({info.identity for info in infos}) == 1
        consistent = consistent or consistency == "stale"
        merged = (
            sharding.merge_infos(infos) if consistent else await look_up(shards, name, deadline)
        )
        found += [] if merged is None else [merged]
    return found


async def create_everywhere(
    shards: Sequence[RemoteShard], name: str, spec: Spec, deadline: Deadline
) -> CollectionInfo:
    """Create a collection in all shards, or confirm that it exists; the first shard decides."""
    if len(shards) > 1:
        await look_up(shards, name, deadline)
    spec = replace(spec, identity=spec.identity or uuid.uuid4().hex)
    first = await shards[0].call(deadline, VectorIndex.create, name, spec)
    spec = replace(spec, identity=first.identity)
    others = [shard.call(deadline, VectorIndex.create, name, spec) for shard in shards[1:]]
    return sharding.merge_infos([first, *await gather_all(others)])


async def delete_everywhere(shards: Sequence[RemoteShard], name: str, deadline: Deadline) -> None:
    """Delete a collection in all shards that answer.

    Raises:
        UnknownCollection: no shard has the collection.
        Unavailable: a shard does not answer; the others have deleted the collection.
    """
    results = await asyncio.gather(
        *(shard.call(deadline, VectorIndex.delete, name) for shard in shards),
        return_exceptions=True,
    )
    errors = errors_in(results)
    failures = [error for error in errors if not isinstance(error, UnknownCollection)]
    if failures or len(errors) == len(results):
        raise [*failures, *errors][0]


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


async def _repair(
    shards: Sequence[RemoteShard],
    name: str,
    infos: dict[int, CollectionInfo | None],
    identities: list[str],
    deadline: Deadline,
) -> list[CollectionInfo]:
    """Reconcile the shards that answer, and return their descriptions of the collection then."""
    if not identities:
        return []
    deleted = await gather_all(
        shards[at].call(deadline, VectorIndex.deleted, identities) for at in infos
    )
    stored = {at: info.identity if info else None for at, info in infos.items()}
    plan = reconcile(name, stored, {identity for listed in deleted for identity in listed})
    try:
        await gather_all(
            shards[at].call(deadline, VectorIndex.delete, name, identity)
            for at, identity in plan.deletes.items()
        )
    except UnknownCollection:
        # Another ingress replica has made the same repair.
        raise StaleCollection(name) from None
    kept = [info for info in infos.values() if info and info.identity == plan.identity]
    if not kept:
        return []
    spec = sharding.spec_of(sharding.merge_infos(kept))
    created = await gather_all(
        shards[at].call(deadline, VectorIndex.create, name, spec) for at in plan.creates
    )
    return [*kept, *created]
