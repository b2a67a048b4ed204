"""Searches texts by their words in several shards.

All shards first tell the statistics of the queries' terms, and then score their texts by the sum of
these, so that a text has the same score in any number of shards.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from deployments.index.client import RemoteShard, ShardedHits
from deployments.index.gathering import answers_of, merge_scored
from embedder.core.deadline import Deadline
from embedder.index.contract.points import Consistency
from embedder.index.contract.texts import TextQuery, TextStatistics, merge_statistics
from embedder.index.vector_index import VectorIndex


async def search_texts(
    shards: Sequence[RemoteShard],
    queries: Sequence[TextQuery],
    *,
    complete: bool,
    deadline: Deadline,
) -> ShardedHits:
    """Answer queries of one creation of one collection, all of one consistency.

    With ``complete``, a shard that does not answer fails the search; else its hits are missing, and
    its texts do not count in the statistics.

    Raises:
        StaleCollection: only some of the shards have the collection.
        EmbedderError: no shard answered or, with ``complete``, not every shard.
    """
    first = queries[0]
    given = ([query.text for query in queries], first.identity, first.consistency)
    ask = partial(_ask, deadline, first.collection, *given)
    parts = await answers_of(shards, map(ask, shards), first.consistency, complete=complete)
    statistics = merge_statistics([*parts.values()])
    asked = [replace(query, statistics=statistics) for query in queries]
    found = await answers_of(
        [*parts],
        (shard.search_text(asked, deadline) for shard in parts),
        first.consistency,
        complete=complete,
    )
    hits = [
        merge_scored(query.top_k, [one.hits[row] for one in found.values()])
        for row, query in enumerate(queries)
    ]
    missing = [shard.name for shard in shards if shard not in found]
    return ShardedHits(hits, missing, max(one.sent_s for one in found.values()))


async def _ask(
    deadline: Deadline,
    name: str,
    texts: list[str],
    identity: str | None,
    consistency: Consistency,
    shard: RemoteShard,
) -> TextStatistics:
    given = (name, texts, identity, consistency)
    return await shard.call(deadline, VectorIndex.text_statistics, *given)
