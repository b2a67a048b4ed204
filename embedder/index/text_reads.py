"""Search the texts of collections by their words.

A search reads the rows of one moment, so that the score and the fields of a hit belong together.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from typing import TypeVar

from embedder.core.cancellation import stop_if_cancelled
from embedder.core.errors import Unavailable
from embedder.index.collection.open_collection import OpenCollection
from embedder.index.collection.text_searcher import NotIndexed, TextSearcher
from embedder.index.contract.points import Consistency, Hit
from embedder.index.contract.texts import TextQuery, TextStatistics, check_text_query
from embedder.index.lexical.blocks import DamagedBlock
from embedder.index.point_reads import read_again
from embedder.index.shard import Shard
from embedder.index.storage.protocol import Effect, Transaction
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
    return _read(shard, name, identity, consistency, lambda found: found.statistics(texts))


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


def _search(shard: Shard, query: TextQuery) -> list[Hit]:
    stop_if_cancelled()
    of = (query.collection, query.identity, query.consistency)
    with shard.guard(query.collection):
        return _read(shard, *of, lambda found: found.search(query))


def _read(
    shard: Shard,
    name: str,
    identity: str | None,
    consistency: Consistency,
    read: Callable[[TextSearcher], T],
) -> T:
    def read_one(collection: OpenCollection) -> T:
        collection.check(identity, None)
        with ExitStack() as stack:
            if consistency == "stale":
                stack.enter_context(stale_reads())
            try:
                reader = stack.enter_context(shard.store.pinned())
                return read(TextSearcher(reader, collection.id, collection.width))
            except DamagedBlock:
                logger.error("the index of the texts of %r is damaged, and is made again", name)
                shard.commit(partial(_forget, collection.id))
            except NotIndexed:
                pass
        shard.store.index_texts()
        raise Unavailable(
            f"the texts of collection {name!r} are being indexed for searches by words; searches "
            "by vectors and writes go on meanwhile"
        )

    if consistency == "latest":
        shard.follow([name])
    return read_again(shard, name, read_one)


def _forget(collection: int, rows: Transaction) -> Effect[None]:
    rows.texts.forget(collection)
    return lambda: None
