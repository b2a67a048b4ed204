"""The steps of clients of an index: how they are drawn, taken, and what they change.

A step is a name and what it needs, as JSON. The first part of an id, up to the hyphen, is its
owner: only that client writes it, except the ids of `SHARED`, which every client writes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from embedder.index.contract.filter_parsing import parse
from embedder.index.contract.kinds import IndexKind
from embedder.index.contract.points import Metric, Points, Spec, StoredModel
from embedder.index.vector_index import VectorIndex
from tests.unit.index.small_index import merge_all, save

WIDTH = 4
OWN_IDS, SHARED_IDS = 30, 12
SHARED = "all"
MAX_BACKUPS = 8
"""Backups that a world has; a client restores one of its latest three."""
COMMON = "c"
"""The collection that all writers share; each keeper has one of its own."""
DISPUTED = "d"
"""The collection that several clients create, delete and fill against each other."""

SPEC = Spec(Metric.L2, kind=IndexKind.HNSW)
KINDS = [kind.value for kind in (IndexKind.FLAT, IndexKind.HNSW, IndexKind.IVF_FLAT)]

Step = list[Any]
Stored = dict[str, list[int]]
World = dict[str, Stored]
"""The points of a collection, under the empty name, and those of its backups, by their folders."""

EMPTY: World = {"": {}}

MAINTAIN: dict[str, Callable[[VectorIndex, str], None]] = {
    "snapshot": save,
    "optimize": merge_all,
    "run_maintenance": lambda index, _: index.run_maintenance(),
}


def owner(name: str) -> str:
    """Return which client writes an id."""
    return name.partition("-")[0]


def draw_write(chance: Random, client: str, shared: bool = True) -> Step:
    """Return a write to ids of the client and, with ``shared``, to those that all write."""
    name = chance.choices(["upsert", "delete", "delete_matching"], [60, 20, 8])[0]
    if name == "delete_matching":
        return [name, [client, chance.randint(-40, 0)]]
    chosen = [f"{client}-{i}" for i in chance.sample(range(OWN_IDS), chance.randint(1, 12))]
    if shared:
        few = chance.sample(range(SHARED_IDS), chance.randint(0, 2))
        chosen += [f"{SHARED}-{i}" for i in few]
    if name == "delete":
        return [name, chosen]
    return [name, [[one, [chance.randint(-9, 9) for _ in range(WIDTH)]] for one in chosen]]


def draw_kept(chance: Random, client: str, kept: Sequence[str], free: str) -> Step:
    """Return a write to a collection of one client, or a step with a backup of it.

    ``kept`` are the folders of backups, and ``free`` is one for the next.
    """
    name = chance.choices(["write", "back_up", "restore", "drop"], [60, 12, 12, 3])[0]
    if name == "back_up":
        return [name, free]
    if name == "restore" and kept:
        return [name, [chance.choice(kept[-3:]), None]]
    if name == "drop":
        return [name, chance.choice(KINDS)]
    return draw_write(chance, client, shared=False)


def draw_disputed(chance: Random, client: str) -> Step:
    """Return a step with a collection that other clients delete meanwhile."""
    if chance.random() < 0.3:
        return ["drop", chance.choice(KINDS)]
    return draw_write(chance, client, shared=False)


def draw_maintenance(chance: Random, identity: str) -> Step:
    """Return a step that changes no point."""
    name = chance.choices(["reembed", *MAINTAIN], [4, 3, 2, 5])[0]
    return [name, identity if name == "reembed" else None]


def take(index: VectorIndex, collection: str, step: Step) -> int | None:
    """Take one step, and return the number of the write if it wrote points."""
    name, given = step
    if name == "upsert":
        return index.upsert(collection, points_of(dict(given)), SPEC)
    if name in ("delete", "delete_matching"):
        chosen = {"by": given[0], "sum": {"$lt": given[1]}} if name != "delete" else None
        deleted = (
            index.delete_points(collection, given)
            if chosen is None
            else index.delete_matching(collection, parse(chosen))
        )
        return deleted.sequence if deleted.count else None
    if name == "drop":
        index.delete(collection)
        index.create(collection, Spec(Metric.L2, kind=IndexKind(given)))
    elif name == "back_up":
        index.back_up(collection, Path(given))
    elif name == "restore":
        index.restore(Path(given[0]), given[1] or collection, replacing=True)
    elif name == "reembed":
        reembed(index, collection, given)
    else:
        MAINTAIN[name](index, collection)
    return None


def reembed(index: VectorIndex, collection: str, identity: str) -> None:
    """Compute every vector again from its text, which gives the same vector.

    Continues what another process has begun.
    """
    model = StoredModel("m", identity, "0" * 64, "mean")
    spec = Spec(Metric.L2, IndexKind.HNSW, WIDTH, stored=model, identity=identity)
    identity = index.begin_staged(collection, index.describe(collection).identity, spec).identity
    fill(index, collection, identity)
    index.freeze(collection, identity, False)
    fill(index, collection, identity)
    index.switch(collection, identity)


def fill(index: VectorIndex, collection: str, identity: str) -> None:
    """Compute the vectors of the points of which the staged collection has no current one."""
    points = index.outdated(collection, identity, 0)
    if points:
        vectors = np.array([json.loads(one.text) for one in points], np.float32)
        index.fill_staged(collection, identity, points, vectors)


def points_of(stored: Stored) -> Points:
    """Return points whose text and metadata follow from the id and the vector."""
    rows = np.array(list(stored.values()), np.float32)
    metadata = [{"sum": sum(vector), "by": owner(one)} for one, vector in stored.items()]
    return Points(list(stored), rows, [str(vector) for vector in stored.values()], metadata)


def apply(world: World, step: Step) -> World:
    """Return the expected world after a step, computed without the index."""
    name, given = step
    stored = world[""]
    if name == "back_up":
        latest = [one for one in world if one][-MAX_BACKUPS:]
        return {"": stored, **{one: world[one] for one in latest}, given: stored}
    if name == "restore":
        return world if given[1] else {**world, "": world[given[0]]}
    if name == "upsert":
        stored = {**stored, **dict(given)}
    elif name == "delete":
        stored = {one: vector for one, vector in stored.items() if one not in given}
    elif name == "delete_matching":
        by, below = given
        stored = {
            one: vector
            for one, vector in stored.items()
            if owner(one) != by or sum(vector) >= below
        }
    elif name == "drop":
        stored = {}
    return {**world, "": stored}
