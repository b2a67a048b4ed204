"""One shard of the index through its handle; concurrent searches share one call."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Concatenate, ParamSpec, TypeVar, get_args

from deployments.index.methods import METHODS
from deployments.rpc import message_size
from deployments.rpc.handle_client import Handle, HandleClient
from deployments.rpc.pickled_rows import PickledRows
from deployments.rpc.running_replicas import running_replicas
from embedder.batching.batcher import Batcher
from embedder.batching.packing import Budget, Slots
from embedder.batching.queue import BatchContext
from embedder.core.deadline import Deadline
from embedder.core.tracing import step
from embedder.index.contract.health import IndexStats
from embedder.index.contract.points import CollectionInfo, Consistency, Hit, Query
from embedder.index.contract.texts import TextQuery
from embedder.index.vector_index import VectorIndex
from embedder.measurements.histogram import SECONDS, Histogram
from embedder.pipeline.threads import QueueStats

P = ParamSpec("P")
T = TypeVar("T")
_Searches = Batcher[Query, tuple[PickledRows[Hit], float]]

CONSISTENCIES: tuple[Consistency, ...] = get_args(Consistency)

CALL_QUERIES = 256
"""The most queries of one call, which is also limited by ``GATHERED_BYTES``."""

MAX_SEARCHED = 10_000
"""The most collections whose descriptions are kept."""


@dataclass(frozen=True)
class ShardStats(IndexStats):
    """The statistics of one replica of a shard, with the names of both and its queues.

    The replicas of a shard have the same points. ``reads`` counts the queries and the other reads
    that this one has answered.
    ``problem`` names the damaged collections, or says why the shard is not ready, and the remedy.
    ``damaged_snapshots`` were not used, and built again from the store; ``save_failures`` counts
    snapshots that could not be written, and ``object_failures`` failed calls of the object store.
    """

    shard: str
    replica: str
    reads: int
    queues: list[QueueStats]


@dataclass(frozen=True, slots=True)
class ShardedHits:
    """The hits of every query, and the names of the shards that did not answer.

    ``sent_s`` is the time on ``time.monotonic`` at which the last of the queries was sent.
    """

    hits: list[PickledRows[Hit]]
    missing: list[str]
    sent_s: float


class RemoteShard:
    """One VectorIndex deployment; any of its replicas gets a call.

    ``searched`` has the description of each collection, by name, at its last search. ``submitted``
    counts the queries and the other reads. ``calls`` searches are sent at once to each replica.
    ``seconds`` gets the duration of each call.
    """

    def __init__(
        self, name: str, handle: Handle, calls: int = 2, seconds: Histogram | None = None
    ) -> None:
        self.name = name
        self._seconds = Histogram(SECONDS) if seconds is None else seconds
        self.submitted = 0
        self.searched: dict[str, CollectionInfo] = {}
        self._client = HandleClient(name, handle)
        # No call has both kinds: a stale query must not wait for the database, or fail with it.
        self._searches: Mapping[Consistency, _Searches] = {
            consistency: Batcher(
                self._search,
                budget=Budget(message_size.GATHERED_BYTES, max_items=CALL_QUERIES),
                slots=lambda: Slots(calls * max(1, running_replicas(handle) or 0)),
                cancel_abandoned=True,
            )
            for consistency in CONSISTENCIES
        }

    @property
    def waiting(self) -> int:
        """Return the number of queries that wait to be sent."""
        return sum(map(len, self._searches.values()))

    async def call(
        self,
        deadline: Deadline,
        method: Callable[Concatenate[VectorIndex, P], T],
        *arguments: P.args,
        **named: P.kwargs,
    ) -> T:
        """Call a method of `VectorIndex`, which `METHODS` lists, with arguments by position."""
        assert not named, "the size and the price of a call are computed by position"
        how = METHODS[method.__name__]
        size = how.size(*arguments)
        self.submitted += how.threads == "read"
        with self._seconds.time(), step("index") as span:
            span.set(shard=self.name, method=method.__name__)
            sent = await self._client.call(
                "call",
                method.__name__,
                *arguments,
                size=size,
                deadline=deadline,
                once=how.threads in ("write", "copy"),
            )
        answer: T = sent if how.unpack is None else await how.unpack(sent)
        return answer

    async def search(self, queries: Sequence[Query], deadline: Deadline) -> ShardedHits:
        """Answer several queries, in calls that they share with queries of other requests.

        All have the consistency of the first one.
        """
        if not queries:
            return ShardedHits([], [], time.monotonic())
        self.submitted += len(queries)
        sizes = list(map(message_size.query_bytes, queries))
        searches = self._searches[queries[0].consistency]
        with step("search") as span:
            span.set(shard=self.name, queries=len(queries))
            answers = await searches.submit(queries, sizes, deadline=deadline)
        sent_s = max(sent_s for _, sent_s in answers)
        return ShardedHits([hits for hits, _ in answers], [], sent_s)

    async def search_text(self, queries: Sequence[TextQuery], deadline: Deadline) -> ShardedHits:
        """Answer several queries by words in one call."""
        sent_s = time.monotonic()
        answer: Any = await self.call(deadline, VectorIndex.search_text, queries)
        hits: list[PickledRows[Hit]] = answer
        return ShardedHits(hits, [], sent_s)

    async def _search(
        self, queries: list[Query], context: BatchContext
    ) -> list[tuple[PickledRows[Hit], float]]:
        sent_s = time.monotonic()
        # The hits stay pickled until a response is written or several shards are merged.
        answer: Any = await self.call(context.deadline, VectorIndex.search, queries)
        answers: list[PickledRows[Hit]]
        infos: list[CollectionInfo]
        answers, infos = answer
        if len(self.searched) > MAX_SEARCHED:
            self.searched.clear()
        self.searched.update((info.name, info) for info in infos)
        return [(hits, sent_s) for hits in answers]
