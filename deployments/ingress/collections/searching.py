"""Admission of searches, as of texts: by the time that the queries before them take.

Few calls to the shards run at a time, each with queries of several requests; all other queries wait
in this process. A search is priced by the vectors and rows that its queries look at, which follow
from the size of the collection that the shards told with their last answer.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from hashlib import blake2b

from deployments.remote_index import RemoteIndex
from deployments.shard_answers import Found
from embedder.backlog.backlog import Backlog
from embedder.index.points import Query
from embedder.index.pricing import search_price
from embedder.types import Priority, Timings


class Searching:
    """The searches of one ingress replica."""

    def __init__(self, backlog: Backlog) -> None:
        self._backlog = backlog

    async def search(
        self,
        index: RemoteIndex,
        queries: Sequence[Query],
        *,
        complete: bool,
        deadline: float | None,
    ) -> Found:
        """Answer several queries of one collection, as `RemoteIndex.search`.

        Raises:
            Overloaded: the queries before them take too long; it says when to come back.
        """
        asked_s, begun = time.monotonic(), list[float]()
        price = search_price(queries, index.searched(queries[0].collection))
        work = self._backlog.enter(list(map(_key, queries)), price, Priority.INTERACTIVE)
        try:
            found = await index.search(queries, complete=complete, deadline=deadline, begun=begun)
            began_s = max(begun, default=asked_s)
            times = Timings(queue_s=began_s - asked_s, inference_s=time.monotonic() - began_s)
            price = search_price(queries, index.searched(queries[0].collection))
            work.resize(price)
            work.computed(price, times)
            return found
        finally:
            work.end()


def _key(query: Query) -> bytes:
    """Return the key of a query, the same when it comes again."""
    vector = b"" if query.vector is None else query.vector.tobytes()
    rest = f"{query.collection}\0{query.id}\0{query.top_k}".encode("utf-8", "surrogatepass")
    return blake2b(vector + rest, digest_size=16).digest()
