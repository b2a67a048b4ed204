"""Searches with a limit of results per document, which need more candidates than results."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

from deployments.index.client import ShardedHits
from deployments.ingress.collections.search_bodies import QueryBody
from deployments.ingress.collections.search_queries import is_ordered_later
from deployments.rpc.pickled_rows import PickledRows
from embedder.index.contract.limits import MAX_TOP_K, OVERSAMPLE
from embedder.index.contract.points import Hit, Query
from embedder.index.ranking.documents import limit_per_document
from embedder.index.ranking.ranked_hits import ranked

Search = Callable[[Sequence[Query]], Awaitable[ShardedHits]]


async def search_documents(
    search: Search, queries: Sequence[QueryBody], wanted: Sequence[Query]
) -> ShardedHits:
    """Search, and again with `OVERSAMPLE` times the candidates while a query has too few results.

    A query has at most `MAX_TOP_K` candidates; those of a hybrid or reranked one are given.
    """
    while True:
        found = await search(wanted)
        tops = [
            await _candidates(query, one, hits)
            for query, one, hits in zip(queries, wanted, found.hits, strict=True)
        ]
        if tops == [one.top_k for one in wanted]:
            return found
        wanted = [replace(one, top_k=top) for one, top in zip(wanted, tops, strict=True)]


async def _candidates(query: QueryBody, wanted: Query, found: PickledRows[Hit]) -> int:
    """Return how many candidates a query needs, which are those that it had if these suffice."""
    limited = query.per_document is not None and not is_ordered_later(query)
    if not limited or len(found) < wanted.top_k:
        return wanted.top_k
    hits = ranked({"dense": await found.unpickled()})
    results = sum(1 for _ in limit_per_document(hits, query.per_document))
    enough = results >= query.top_k
    return wanted.top_k if enough else min(OVERSAMPLE * wanted.top_k, MAX_TOP_K)
