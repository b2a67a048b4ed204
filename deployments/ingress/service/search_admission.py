"""Admits searches by the predicted time of the queries before them.

Few calls to the shards run at a time, each with queries of several requests; all other queries wait
in this process. The price of a search is the number of vectors and rows that it reads, estimated
from the collection size in the last answer of the shards.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from hashlib import blake2b

from deployments.index.client import ShardedHits
from deployments.index.sharded_client import RemoteIndex
from embedder.core.deadline import Deadline
from embedder.core.types import Priority, Timings
from embedder.index.contract.points import Query
from embedder.index.contract.pricing import search_price
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
        asked_s = time.monotonic()
        work = self._admission.admit(keys, self._price(queries), Priority.INTERACTIVE)
        self._queries += len(queries)
        try:
            index = self._index.reading(queries[0].consistency)
            found = await index.search(queries, complete=complete, deadline=deadline)
            inference_s = time.monotonic() - found.sent_s
            times = Timings(queue_s=found.sent_s - asked_s, inference_s=inference_s)
            work.resize(self._price(queries))
            work.computed(work.tokens, times)
            return found
        finally:
            self._queries -= len(queries)
            work.end()

    def _price(self, queries: Sequence[Query]) -> int:
        return search_price(queries, self._index.searched(queries[0].collection))


def key_of(query: Query, text: str | None) -> bytes:
    """Return the key by which a retried query finds its reservation.

    Queries for one text with different filters have different keys.
    """
    vector = b"" if query.vector is None else query.vector.tobytes()
    rest = f"{query.collection}\0{query.id}\0{query.top_k}\0{query.filter!r}\0{text}"
    return blake2b(vector + rest.encode("utf-8", "surrogatepass"), digest_size=16).digest()
