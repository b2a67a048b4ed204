"""How each method of the index is called: its threads and its price in a replica, and its size.

Clients and replicas call the methods of this table, and no others. What each one takes and returns
is stated by the method of the same name of `VectorIndex`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from deployments.rpc.message_size import (
    points_bytes,
    query_bytes,
    records_bytes,
    sparse_query_bytes,
    text_query_bytes,
)
from deployments.rpc.pickled_rows import PickledRows
from embedder.index.contract.filters import Filter
from embedder.index.contract.points import Consistency, Hit, Page, Query, Record
from embedder.index.contract.pricing import (
    ROW_BYTES,
    ROW_RETURNED,
    SCANNED_BYTES,
    SPARSE_BYTES,
    upsert_price,
)
from embedder.index.contract.sparse_queries import SparseHits
from embedder.index.storage.records import PAGE_POINTS
from embedder.index.vector_index import VectorIndex

Threads = Literal["loop", "pool", "search", "read", "write", "copy"]
"""Where a method runs: on the event loop if it reads memory alone, in the pool of asyncio, or in
the threads of a class of work. Where several replicas write to one database, what else reads memory
alone may have to ask it first, and runs in threads.
"""


@dataclass(frozen=True, slots=True)
class Method:
    """How one method is called.

    ``price`` takes the index and the arguments, and returns units of the class. ``size`` takes the
    arguments, and returns the estimated bytes of the arguments or of the answer, whichever is
    larger. ``consistency`` takes the arguments; it is stated for what memory can answer. ``pack``
    turns the answer, with the index and the arguments behind it, into what is
    sent; ``unpack`` turns that into the answer. None sends the answer.
    """

    threads: Threads
    price: Callable[..., int] = lambda *_: 1
    size: Callable[..., int] = lambda *_: 0
    consistency: Callable[..., Consistency] = lambda *_: "latest"
    pack: Callable[..., Any] | None = None
    unpack: Callable[[Any], Awaitable[Any]] | None = None


def _filtered(index: VectorIndex, name: str, condition: Filter | None) -> int:
    """Return how many rows a filter may have to evaluate; without one the number is known."""
    return 0 if condition is None else index.known_points(name)


def _pack_page(page: Page, *_: object) -> tuple[Page, PickledRows[Record]]:
    return replace(page, records=[]), PickledRows.of(Record, page.records)


async def _unpack_page(sent: tuple[Page, PickledRows[Record]]) -> Page:
    page, records = sent
    return replace(page, records=await records.unpickled())


def _pack_hits(answers: list[list[Hit]], index: VectorIndex, queries: Sequence[Query]) -> Any:
    """Return the hits of each query, and the descriptions of the collections."""
    names = {query.collection for query in queries}
    infos = [index.describe(name, "stale") for name in names]
    return [PickledRows.of(Hit, hits) for hits in answers], infos


@dataclass(frozen=True, slots=True)
class PackedSparse:
    """What is sent of `SparseHits`."""

    hits: list[PickledRows[Hit]]
    points: int
    weighted: int


def _pack_sparse(answer: SparseHits, *_: object) -> PackedSparse:
    hits = [PickledRows.of(Hit, one) for one in answer.hits]
    return PackedSparse(hits, answer.points, answer.weighted)


METHODS: Mapping[str, Method] = {
    "collections": Method("loop", consistency=lambda consistency="latest": consistency),
    "describe": Method("loop", consistency=lambda name, consistency="latest": consistency),
    "deleted": Method("pool"),
    **dict.fromkeys(("create", "record_model", "delete"), Method("write")),
    "upsert": Method(
        "write",
        price=lambda _, name, points, *spec: upsert_price(points),
        size=lambda name, points, *spec: points_bytes(points),
    ),
    "delete_points": Method("write", lambda _, name, ids: ROW_BYTES * max(1, len(ids))),
    "delete_documents": Method(
        "write", lambda _, name, documents: ROW_BYTES * max(1, len(documents))
    ),
    "delete_matching": Method(
        "write",
        lambda index, name, condition: ROW_BYTES + SCANNED_BYTES * index.known_points(name),
    ),
    "fetch": Method(
        "read",
        price=lambda _, name, ids, *rest: 1 + ROW_RETURNED * len(ids),
        size=lambda name, ids, include, *_: records_bytes(len(ids), include),
        pack=lambda records, *_: PickledRows.of(Record, records),
        unpack=PickledRows.unpickled,
    ),
    "count": Method(
        "read",
        lambda index, name, condition, *_: 1 + _filtered(index, name, condition),
    ),
    "scroll": Method(
        "read",
        price=lambda index, name, cursor, limit, condition, *_: (
            1 + ROW_RETURNED * limit + _filtered(index, name, condition)
        ),
        size=lambda name, cursor, limit, condition, include, *_: records_bytes(limit, include),
        pack=_pack_page,
        unpack=_unpack_page,
    ),
    "search": Method(
        "search",
        price=lambda _, queries: len(queries),
        size=lambda queries: sum(map(query_bytes, queries)),
        consistency=lambda queries: queries[0].consistency if queries else "latest",
        pack=_pack_hits,
    ),
    "text_statistics": Method(
        "search",
        price=lambda _, name, texts, *rest: len(texts),
        size=lambda name, texts, *_: sum(map(len, texts)),
    ),
    "search_text": Method(
        "search",
        price=lambda _, queries: len(queries),
        size=lambda queries: sum(map(text_query_bytes, queries)),
        pack=lambda answers, *_: [PickledRows.of(Hit, hits) for hits in answers],
    ),
    "search_sparse": Method(
        "search",
        price=lambda _, queries: len(queries),
        size=lambda queries: sum(map(sparse_query_bytes, queries)),
        pack=_pack_sparse,
    ),
    **dict.fromkeys(
        ("back_up", "finish_backup", "restore", "export", "count_without_text"), Method("copy")
    ),
    **dict.fromkeys(("begin_staged", "freeze", "switch", "discard_staged"), Method("write")),
    "staged": Method("read"),
    "outdated": Method("read", lambda *_: PAGE_POINTS),
    "fill_staged": Method(
        "write",
        lambda _, name, identity, points, vectors, sparse=(): (
            vectors.nbytes + SPARSE_BYTES * sum(map(len, filter(None, sparse)))
        ),
    ),
}
"""Every method that a replica runs for a caller, by its name."""
