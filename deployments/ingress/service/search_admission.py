"""Admits searches by the predicted time of the queries before them.

Few calls to the shards run at a time, each with queries of several requests; all other queries wait
in this process. The price of a search is the number of vectors and rows that it reads, estimated
from the collection size in the last answer of the shards.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from hashlib import blake2b

from deployments.index.client import ShardedHits
from deployments.index.sharded_client import RemoteIndex
from embedder.core.deadline import Deadline
from embedder.core.types import Priority, Timings
from embedder.index.contract.points import Query
from embedder.index.contract.pricing import posting_search_price, search_price
from embedder.index.contract.sparse_queries import SparseQuery
from embedder.index.contract.texts import TextQuery
from embedder.pipeline.admission_control import AdmissionControl
from embedder.pipeline.threads import QueueStats


class SearchAdmission:
    """The searches of one ingress replica."""

    def __init__(self, index: RemoteIndex, admission: AdmissionControl) -> None:
        self._index = index
        self._admission = admission
        self._queries = 0

    @property
    def queue(self) -> QueueStats:
        """Return how many queries wait and run, and how many searches were refused."""
        waiting = max((shard.waiting for shard in self._index.shards), default=0)
        waiting = min(self._queries, waiting)
        return QueueStats("search", waiting, self._queries - waiting, self._admission.stats.refused)

    def check(self, queries: Sequence[Query], keys: Sequence[bytes]) -> None:
        """Check, before its texts are embedded, that `search` would admit a search now.

        Raises:
            Overloaded: as `search`.
        """
        self._admission.check(keys, self._price(queries), Priority.INTERACTIVE)

    async def search(
        self,
        queries: Sequence[Query],
        keys: Sequence[bytes],
        *,
        complete: bool,
        deadline: Deadline,
    ) -> ShardedHits:
        """Run the queries of one request, as `RemoteIndex.search`; ``keys`` has one key per query.

        Raises:
            Overloaded: the predicted wait is too long; the error says when to retry.
        """
        index = self._index.reading(queries[0].consistency)
        search = partial(index.search, queries, complete=complete, deadline=deadline)
        return await self._run(search, keys, partial(self._price, queries))

    async def search_text(
        self, queries: Sequence[TextQuery], *, complete: bool, deadline: Deadline
    ) -> ShardedHits:
        """Run the queries of one request by words, as `RemoteIndex.search_text`.

        Raises:
            Overloaded: as `search`.
        """
        index = self._index.reading(queries[0].consistency)
        search = partial(index.search_text, queries, complete=complete, deadline=deadline)
        keys = [key_of(query, query.text) for query in queries]
        return await self._run(search, keys, partial(self._posting_price, queries))

    async def search_sparse(
        self, queries: Sequence[SparseQuery], *, complete: bool, deadline: Deadline
    ) -> ShardedHits:
        """Run the queries of one request by sparse weights, as `RemoteIndex.search_sparse`.

        Raises:
            Overloaded: as `search`.
        """
        index = self._index.reading(queries[0].consistency)
        search = partial(index.search_sparse, queries, complete=complete, deadline=deadline)
        keys = [key_of(query, query.weights.encoded().hex()) for query in queries]
        return await self._run(search, keys, partial(self._posting_price, queries))

    async def _run(
        self,
        search: Callable[[], Awaitable[ShardedHits]],
        keys: Sequence[bytes],
        price: Callable[[], int],
    ) -> ShardedHits:
        """Run an admitted search; its price is known better once the shards have answered."""
        asked_s = time.monotonic()
        work = self._admission.admit(keys, price(), Priority.INTERACTIVE)
        self._queries += len(keys)
        try:
            found = await search()
            inference_s = time.monotonic() - found.sent_s
            times = Timings(queue_s=found.sent_s - asked_s, inference_s=inference_s)
            work.resize(price())
            work.computed(work.tokens, times)
            return found
        finally:
            self._queries -= len(keys)
            work.end()

    def _price(self, queries: Sequence[Query]) -> int:
        return search_price(queries, self._index.searched(queries[0].collection))

    def _posting_price(self, queries: Sequence[TextQuery] | Sequence[SparseQuery]) -> int:
        return posting_search_price(queries, self._index.searched(queries[0].collection))


def key_of(query: Query | TextQuery | SparseQuery, text: str | None) -> bytes:
    """Return the key by which a retried query finds its reservation.

    Queries for one text with different filters have different keys.
    """
    start = b"words" if isinstance(query, TextQuery) else b"weights"
    if isinstance(query, Query):
        vector = b"" if query.vector is None else query.vector.tobytes()
        start = vector + f"{query.id}\0".encode("utf-8", "surrogatepass")
    rest = f"{query.collection}\0{query.top_k}\0{query.filter!r}\0{text}"
    return blake2b(start + rest.encode("utf-8", "surrogatepass"), digest_size=16).digest()
