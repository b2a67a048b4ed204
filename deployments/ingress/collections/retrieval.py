"""Searches the shards for the queries of one request: by vectors, words and sparse weights.

All rankings are of one creation of the collection. Each has its points at the moment at which it
is read, so a point that is overwritten meanwhile may be in one of them with its earlier text.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple, TypeVar

from deployments.index.client import ShardedHits
from deployments.ingress.collections.index_queries import AskedQueries
from deployments.ingress.collections.per_document import search_documents
from deployments.ingress.collections.search_bodies import QueryBody, SearchBody
from deployments.ingress.collections.search_queries import (
    by_vector,
    is_ordered_later,
)
from deployments.ingress.middleware.context import RequestContext
from deployments.ingress.middleware.large_bodies import convert_body
from deployments.ingress.service.service import Service
from deployments.rpc.pickled_rows import PickledRows
from embedder.core.errors import InvalidInput, LimitExceeded, Unavailable, UnknownCollection
from embedder.core.types import Priority
from embedder.index.contract.points import CollectionInfo, Hit, Query
from embedder.index.contract.sparse_queries import SparseQuery
from embedder.index.contract.texts import TextQuery

Rankings = dict[str, PickledRows[Hit]]
"""The hits of one query in each ranking, by its name."""

NONE = ShardedHits([], [], 0.0)
"""The answer to no query."""

T = TypeVar("T")
U = TypeVar("U")


class _Found(NamedTuple):
    """The answers to the queries of each ranking."""

    dense: ShardedHits = NONE
    words: ShardedHits = NONE
    sparse: ShardedHits = NONE


@dataclass(frozen=True, slots=True)
class Retrieval:
    """One request for hits of a collection; ``prefixes`` precede the fields of each query."""

    name: str
    body: SearchBody
    queries: Sequence[QueryBody]
    prefixes: Sequence[str]
    service: Service
    context: RequestContext

    async def run(self) -> tuple[list[Rankings], list[str]]:
        """Return the rankings of each query, and the names of the shards that did not answer.

        Raises:
            InvalidInput: no point has sparse weights, or the model computes none, for a query that
                asks for a ranking by them.
            EmbedderError: as `SearchAdmission.search` and `Service.embed_for`.
        """
        given = (self.name, self.queries, self.prefixes, self.body.consistency)
        asked = await convert_body(self.context, AskedQueries.of, *given)
        try:
            found = await self._search(asked)
        except LimitExceeded as error:
            raise self._naming_candidates(error) from None
        rankings = [Rankings() for _ in self.queries]
        for name, rows, answer in (
            ("dense", asked.dense, found.dense),
            ("lexical", asked.words, found.words),
            ("sparse", asked.sparse, found.sparse),
        ):
            for row, hits in zip(rows, answer.hits, strict=True):
                rankings[row][name] = hits
        missing = [*found.dense.missing, *found.words.missing, *found.sparse.missing]
        return rankings, [*dict.fromkeys(missing)]

    async def _search(self, asked: AskedQueries) -> _Found:
        """Return the hits of all rankings; their calls run at the same time."""
        contents, words = asked.contents, list(asked.words.values())
        if not contents.texts:
            if not words:
                return _Found(await self._by_vector(list(asked.dense.values()), asked.keys))
            if not asked.dense:
                return _Found(words=await self._by_words(words))
        elif asked.dense:
            self.service.search_admission.check(list(asked.dense.values()), asked.keys)

        async def search(collection: CollectionInfo | None) -> _Found:
            if collection is None:
                raise UnknownCollection("collection", self.name)
            by_model = self._embed_and_search(collection, asked)
            if not words:
                return await by_model
            same = [replace(query, identity=collection.identity) for query in words]
            found, lexical = await _together(by_model, self._by_words(same))
            return found._replace(words=lexical)

        cache = self.service.index.reading(self.body.consistency).collection_cache
        return await cache.run(
            self.name, search, deadline=self.context.deadline, texts=bool(contents.texts)
        )

    async def _embed_and_search(self, collection: CollectionInfo, asked: AskedQueries) -> _Found:
        """Search with the vectors of texts by the model of a collection.

        The first search by text records the model, if a collection with points has none: points of
        an older version have no model, and after a change of models they must not be compared with
        another one. If the model cannot be stored now, the next search tries again. A stale one
        does not wait for that.
        """
        contents, dense = asked.contents, asked.dense
        if not contents.texts:
            same = [replace(query, identity=collection.identity) for query in dense.values()]
            return _Found(await self._by_vector(same, asked.keys))
        embedded = await contents.embedded(
            self.service,
            self.context,
            collection,
            self.body.model,
            Priority.INTERACTIVE,
            sparse=bool(asked.sparse),
        )
        model = embedded.model
        sparse = asked.with_weights(embedded, collection.identity)
        records = self.body.model is None and self.body.consistency == "latest"
        if records and collection.count and collection.stored is None:
            with suppress(Unavailable):
                await self.service.index.record_model(collection, model, self.context.deadline)
        vectors = asked.with_vectors(embedded, collection.identity)
        if not sparse:
            return _Found(await self._by_vector(vectors, asked.keys))
        if not vectors:
            return _Found(sparse=await self._by_sparse(sparse))
        by_dense = self._by_vector(vectors, asked.keys)
        found = await _together(by_dense, self._by_sparse(sparse))
        return _Found(dense=found[0], sparse=found[1])

    async def _by_vector(self, queries: Sequence[Query], keys: Sequence[bytes]) -> ShardedHits:
        search = partial(
            self.service.search_admission.search,
            keys=keys,
            complete=self.body.complete,
            deadline=self.context.deadline,
        )
        if not any([query.per_document for query in self.queries]):
            return await search(queries)
        return await search_documents(search, list(filter(by_vector, self.queries)), queries)

    async def _by_words(self, queries: Sequence[TextQuery]) -> ShardedHits:
        search = self.service.search_admission.search_text
        return await search(queries, complete=self.body.complete, deadline=self.context.deadline)

    async def _by_sparse(self, queries: Sequence[SparseQuery]) -> ShardedHits:
        search = self.service.search_admission.search_sparse
        return await search(queries, complete=self.body.complete, deadline=self.context.deadline)

    def _naming_candidates(self, error: LimitExceeded) -> InvalidInput:
        """Return an error of too large hits with the field that says how many there are."""
        for query, prefix in zip(self.queries, self.prefixes, strict=True):
            if error.field == f"{prefix}top_k" and is_ordered_later(query):
                part = "hybrid" if query.hybrid else "rerank"
                return error.with_field(f"{prefix}{part}.candidates")
        return error


async def _together(first: Coroutine[Any, Any, T], second: Coroutine[Any, Any, U]) -> tuple[T, U]:
    """Await both; if one fails, cancel the other."""
    one, other = asyncio.ensure_future(first), asyncio.ensure_future(second)
    try:
        return await asyncio.gather(one, other)
    finally:
        one.cancel()
        other.cancel()
