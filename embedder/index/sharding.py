"""A collection over several shards: hash partitioning of points, scatter and gather of queries.

Pure functions: the callers send the requests and collect the answers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from embedder.core import rendezvous
from embedder.core.errors import InvalidInput
from embedder.index.contract.kinds import IndexKind
from embedder.index.contract.limits import MAX_TOP_K, MIN_SAMPLE, OVERSAMPLE
from embedder.index.contract.points import CollectionInfo, Hit, Metric, Points, Query, Spec
from embedder.index.contract.response_budget import NUMBER_BYTES, POINT_BYTES
from embedder.similarity.mmr import maximal_marginal_relevance


def number_of(name: str) -> int:
    """Return the number at the end of a shard's name, 0 if there is none."""
    number = name.rpartition("-")[2]
    return int(number) if number.isdecimal() else 0


def owners(ids: Sequence[str], shards: int) -> NDArray[np.intp]:
    """Return the number of the shard that owns each id, 0 to ``shards`` - 1."""
    if shards == 1 or not ids:
        return np.zeros(len(ids), np.intp)
    hashes = b"".join(hashlib.blake2b(one.encode(), digest_size=8).digest() for one in ids)
    return rendezvous.owners(np.frombuffer(hashes, "<u8"), shards)


def rows_by_shard(ids: Sequence[str], shards: int) -> dict[int, list[int]]:
    """Return the positions in ``ids`` that each shard owns, without shards that own none."""
    owner = owners(ids, shards)
    return {int(one): np.flatnonzero(owner == one).tolist() for one in np.unique(owner)}


def select_rows(points: Points, rows: Sequence[int]) -> Points:
    """Return the points at these positions."""
    return Points(
        ids=[points.ids[row] for row in rows],
        vectors=points.vectors[list(rows)],
        texts=[points.texts[row] for row in rows],
        metadata=[points.metadata[row] for row in rows],
        documents=points.documents,
        sparse=[points.sparse[row] for row in rows] if points.sparse else (),
    )


def merge_infos(infos: Sequence[CollectionInfo]) -> CollectionInfo:
    """Return the description of a collection, given those of its shards, at least one."""
    widths = [info.width for info in infos if info.width is not None]
    largest = max(infos, key=lambda info: info.count)
    return replace(
        largest,
        width=widths[0] if widths else None,
        count=sum(info.count for info in infos),
        sequence=max(info.sequence for info in infos),
        segments=sum(info.segments for info in infos),
        deleted=sum(info.deleted for info in infos),
        pending=sum(info.pending for info in infos),
    )


def spec_of(info: CollectionInfo) -> Spec:
    """Return the settings with which a shard creates the same collection."""
    kind = IndexKind(info.kind)
    return Spec(info.metric, kind, info.width, info.model, info.stored, info.identity)


def shard_query(query: Query) -> Query:
    """Return the query for each shard, whose answers `merge_hits` merges.

    ``query`` has a vector. If it also has an id, that point is excluded from the merged hits.
    """
    if query.diversity is None:
        return replace(query, id=None, top_k=min(_wanted(query), MAX_TOP_K))
    # Hits that are diverse within each shard may not be diverse together: select after the merge.
    sample = min(_sample(query), MAX_TOP_K)
    include = (*(one for one in query.include if one != "vector"), "vector")
    most = query.max_bytes
    if most is not None and query.vector is not None:
        # The response does not contain the vectors of the sample.
        most += sample * (POINT_BYTES + NUMBER_BYTES * len(query.vector))
    return replace(query, id=None, top_k=sample, diversity=None, include=include, max_bytes=most)  # type: ignore[arg-type] # the names are those of `PointField`


def merge_hits(query: Query, answers: Sequence[Sequence[Hit]], metric: Metric) -> list[Hit]:
    """Merge the hits that each shard has found for `shard_query` into those of ``query``."""
    hits = [hit for answer in answers for hit in answer if hit.id != query.id]
    hits.sort(key=lambda hit: (-hit.score, hit.id))
    if query.diversity is None or query.vector is None or not hits:
        return hits[: query.top_k]
    hits = hits[: _sample(query)]
    candidates = np.stack([hit.vector for hit in hits if hit.vector is not None])
    order = maximal_marginal_relevance(
        query.vector,
        candidates,
        query.top_k,
        diversity=query.diversity,
        metric=metric.similarity,
    )
    chosen = [hits[at] for at in order.tolist()]
    if "vector" in query.include:
        return chosen
    return [replace(hit, vector=None) for hit in chosen]


def parse_cursor(cursor: str | None, shards: int) -> tuple[int, str | None]:
    """Return the number of the shard where a page begins, and the cursor within that shard.

    Raises:
        InvalidInput: the cursor is invalid.
    """
    if cursor is None:
        return 0, None
    shard, dot, inner = cursor.partition(".")
    # Compared as text: int() refuses more than 4,300 digits.
    if not dot or shard not in map(str, range(shards)):
        raise InvalidInput("cursor", "is not one that a page came with")
    return int(shard), inner or None


def _wanted(query: Query) -> int:
    return query.top_k + (query.id is not None)


def _sample(query: Query) -> int:
    """Return from how many candidates the diverse hits are selected."""
    return max(OVERSAMPLE * _wanted(query), MIN_SAMPLE)
