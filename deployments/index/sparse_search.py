"""Searches sparse vectors in several shards; the score of a point depends on no other shard."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from deployments.index.client import RemoteShard, ShardedHits
from deployments.index.gathering import answers_of, merge_scored
from deployments.index.methods import PackedSparse
from embedder.core.deadline import Deadline
from embedder.core.errors import InvalidInput
from embedder.index.contract.sparse_queries import SparseQuery
from embedder.index.vector_index import VectorIndex


async def search_sparse(
    shards: Sequence[RemoteShard],
    queries: Sequence[SparseQuery],
    *,
    complete: bool,
    deadline: Deadline,
) -> ShardedHits:
    """Answer queries of one creation of one collection, all of one consistency.

    With ``complete``, a shard that does not answer fails the search; else its hits are missing.

    Raises:
        InvalidInput: the collection has points, but none with sparse weights.
        StaleCollection: only some of the shards have the collection.
        EmbedderError: no shard answered or, with ``complete``, not every shard.
    """
    first, sent_s = queries[0], time.monotonic()
    calls = [_ask(shard, queries, deadline) for shard in shards]
    found = await answers_of(shards, calls, first.consistency, complete=complete)
    answers = list(found.values())
    is_weighted = any(one.weighted for one in answers)
    if not is_weighted and any(one.points for one in answers) and len(found) == len(shards):
        raise InvalidInput(
            f"{first.field.removesuffix('text')}hybrid.weights.sparse",
            f"is above 0, but no point of collection {first.collection!r} has sparse weights: its "
            "points have vectors that clients computed, or were stored by an earlier version; "
            "store their texts again, or set the weight to 0",
        )
    hits = [
        merge_scored(query.top_k, [one.hits[row] for one in answers])
        for row, query in enumerate(queries)
    ]
    missing = [shard.name for shard in shards if shard not in found]
    return ShardedHits(hits, missing, sent_s)


async def _ask(
    shard: RemoteShard, queries: Sequence[SparseQuery], deadline: Deadline
) -> PackedSparse:
    answer: Any = await shard.call(deadline, VectorIndex.search_sparse, queries)
    packed: PackedSparse = answer
    return packed
