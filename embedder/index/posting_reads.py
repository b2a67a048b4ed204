"""Search collections through postings: by the words of texts, and by sparse vectors.

A search reads the rows of one moment, so that the score and the fields of a hit belong together.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from embedder.core.cancellation import stop_if_cancelled
from embedder.core.errors import Unavailable
from embedder.index.collection.open_collection import OpenCollection
from embedder.index.collection.postings.scored_hits import NotIndexed
from embedder.index.collection.postings.sparse_searcher import SparseSearcher
from embedder.index.collection.postings.text_searcher import TextSearcher
from embedder.index.contract.points import Consistency, Hit, StoredModel
from embedder.index.contract.sparse_queries import SparseHits, SparseQuery, check_sparse_query
from embedder.index.contract.texts import TextQuery, TextStatistics, check_text_query
from embedder.index.lexical.blocks import DamagedBlock
from embedder.index.point_reads import read_again
from embedder.index.shard import Shard
from embedder.index.sparse.sparse_index import give_up_blocks
from embedder.index.storage.protocol import Effect, Transaction
from embedder.index.storage.reader import Reader
from embedder.index.storage.stale_reads import stale_reads

T = TypeVar("T")

logger = logging.getLogger(__name__)


def text_statistics(
    shard: Shard,
    name: str,
    texts: Sequence[str],
    identity: str | None = None,
    consistency: Consistency = "latest",
) -> TextStatistics:
    """Return what BM25 needs to know of this shard, for the terms of some texts.

    Raises:
        StaleCollection: the collection has another identity; None is not compared.
    """

    def read(reader: Reader, one: OpenCollection) -> TextStatistics:
        return TextSearcher(reader, one.id, one.width).statistics(texts)

    return _read(shard, TEXTS, _Asked(name, identity, None, consistency), read)


def search_text(shard: Shard, queries: Sequence[TextQuery]) -> list[list[Hit]]:
    """Return the hits of each query.

    Raises:
        InvalidInput: a text or a parameter of a query is invalid.
        StaleCollection: the collection has another identity than a query states.
        LimitExceeded: the hits of a query are too large.
        Unavailable: texts that an earlier version has stored are not all indexed yet.
    """
    for query in queries:
        check_text_query(query)
    return [_search(shard, query) for query in queries]


def search_sparse(shard: Shard, queries: Sequence[SparseQuery]) -> SparseHits:
    """Return the hits of queries of one collection, all of one consistency.

    Raises:
        InvalidInput: a vector or a parameter of a query is invalid.
        StaleCollection: the collection has another identity or model than a query states.
        LimitExceeded: the hits of a query are too large.
        Unavailable: the postings of a restored collection, or of one that was damaged, are not all
            there yet.
    """
    for query in queries:
        check_sparse_query(query)
    stop_if_cancelled()

    def read(reader: Reader, one: OpenCollection) -> SparseHits:
        hits, weighted = SparseSearcher(reader, one.id, one.width).search(queries)
        return SparseHits(hits, one.describe().count, weighted)

    first = queries[0]
    asked = _Asked(first.collection, first.identity, first.model, first.consistency)
    with shard.guard(first.collection):
        return _read(shard, SPARSE, asked, read)


def _search(shard: Shard, query: TextQuery) -> list[Hit]:
    stop_if_cancelled()

    def read(reader: Reader, one: OpenCollection) -> list[Hit]:
        return TextSearcher(reader, one.id, one.width).search(query)

    asked = _Asked(query.collection, query.identity, None, query.consistency)
    with shard.guard(query.collection):
        return _read(shard, TEXTS, asked, read)


@dataclass(frozen=True, slots=True)
class _Postings:
    """Postings of one kind: what their rows are, and how damaged ones are given up."""

    rows: str
    give_up: Callable[[Transaction, int], None]


TEXTS = _Postings("texts", lambda rows, collection: rows.texts.forget(collection))
SPARSE = _Postings("sparse vectors", lambda rows, one: give_up_blocks(rows.sparse, one))


@dataclass(frozen=True, slots=True)
class _Asked:
    """The collection that is asked for, and what its rows must contain."""

    name: str
    identity: str | None
    model: StoredModel | None
    consistency: Consistency


def _read(
    shard: Shard, kind: _Postings, asked: _Asked, read: Callable[[Reader, OpenCollection], T]
) -> T:
    def read_one(collection: OpenCollection) -> T:
        collection.check(asked.identity, asked.model)
        with ExitStack() as stack:
            if asked.consistency == "stale":
                stack.enter_context(stale_reads())
            try:
                return read(stack.enter_context(shard.store.pinned()), collection)
            except DamagedBlock:
                logger.error(
                    "the index of the %s of %r is damaged, and is made again", kind.rows, asked.name
                )
                shard.commit(partial(_give_up, kind, collection.id))
            except NotIndexed:
                pass
        shard.store.index_postings()
        raise Unavailable(
            f"the {kind.rows} of collection {asked.name!r} are being indexed; searches by vectors "
            "and writes go on meanwhile"
        )

    if asked.consistency == "latest":
        shard.follow([asked.name])
    return read_again(shard, asked.name, read_one)


def _give_up(kind: _Postings, collection: int, rows: Transaction) -> Effect[None]:
    kind.give_up(rows, collection)
    return lambda: None
