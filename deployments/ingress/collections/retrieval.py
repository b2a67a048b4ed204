"""Searches the shards for the queries of one request: by vectors, by words, or by both at once.

Both rankings are of one creation of the collection. Each has its points at the moment at which it
is read, so a point that is overwritten meanwhile may be in one of them with its earlier text.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from deployments.index.client import ShardedHits
from deployments.ingress.collections.embedding import Contents
from deployments.ingress.collections.per_document import search_documents
from deployments.ingress.collections.search_bodies import QueryBody, SearchBody
from deployments.ingress.collections.search_queries import (
    by_vector,
    by_words,
    filter_of,
    found_by_index,
    included,
    is_ordered_later,
)
from deployments.ingress.middleware.context import RequestContext
from deployments.ingress.middleware.large_bodies import convert_body
from deployments.ingress.service.search_admission import key_of
from deployments.ingress.service.service import Service
from deployments.rpc.pickled_rows import PickledRows
from embedder.core.errors import InvalidInput, LimitExceeded, Unavailable, UnknownCollection
from embedder.core.types import Priority
from embedder.index.contract.points import CollectionInfo, Hit, Query
from embedder.index.contract.texts import TextQuery

Rankings = dict[str, PickledRows[Hit]]
"""The hits of one query in each ranking, by its name."""

NONE = ShardedHits([], [], 0.0)
"""The answer to no query."""


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
            EmbedderError: as `SearchAdmission.search` and `Service.embed_for`.
        """
        rows = [row for row, query in enumerate(self.queries) if by_vector(query)]
        asked = [self.queries[row] for row in rows], [self.prefixes[row] for row in rows]
        contents = await convert_body(self.context, Contents.of, *asked)
        dense = [self._query(row, contents, at) for at, row in enumerate(rows)]
        words = {
            row: self._text_query(row) for row, query in enumerate(self.queries) if by_words(query)
        }
        try:
            by_dense, by_lexical = await self._search(contents, dense, list(words.values()))
        except LimitExceeded as error:
            raise self._naming_candidates(error) from None
        rankings = [Rankings() for _ in self.queries]
        for row, hits in zip(rows, by_dense.hits, strict=True):
            rankings[row]["dense"] = hits
        for row, hits in zip(words, by_lexical.hits, strict=True):
            rankings[row]["lexical"] = hits
        return rankings, [*dict.fromkeys([*by_dense.missing, *by_lexical.missing])]

    async def _search(
        self, contents: Contents, dense: Sequence[Query], words: Sequence[TextQuery]
    ) -> tuple[ShardedHits, ShardedHits]:
        """Return the hits by vectors and those by words; both calls run at the same time."""
        keys = [key_of(query, contents.texts.get(row)) for row, query in enumerate(dense)]
        if not contents.texts and not words:
            return await self._by_vector(dense, keys), NONE
        if not dense:
            return NONE, await self._by_words(words)
        if contents.texts:
            self.service.search_admission.check(dense, keys)

        async def search(collection: CollectionInfo | None) -> tuple[ShardedHits, ShardedHits]:
            if collection is None:
                raise UnknownCollection("collection", self.name)
            by_vector = self._embed_and_search(collection, contents, dense, keys)
            if not words:
                return await by_vector, NONE
            same = [replace(query, identity=collection.identity) for query in words]
            return await _together(by_vector, self._by_words(same))

        cache = self.service.index.reading(self.body.consistency).collection_cache
        return await cache.run(
            self.name, search, deadline=self.context.deadline, texts=bool(contents.texts)
        )

    async def _embed_and_search(
        self,
        collection: CollectionInfo,
        contents: Contents,
        dense: Sequence[Query],
        keys: Sequence[bytes],
    ) -> ShardedHits:
        """Search with the vectors of texts by the model of a collection.

        The first search by text records the model, if a collection with points has none: points of
        an older version have no model, and after a change of models they must not be compared with
        another one. If the model cannot be stored now, the next search tries again. A stale one
        does not wait for that.
        """
        if not contents.texts:
            same = [replace(query, identity=collection.identity) for query in dense]
            return await self._by_vector(same, keys)
        vectors, model = await contents.embedded(
            self.service, self.context, collection, self.body.model, Priority.INTERACTIVE
        )
        records = self.body.model is None and self.body.consistency == "latest"
        if records and collection.count and collection.stored is None:
            with suppress(Unavailable):
                await self.service.index.record_model(collection, model, self.context.deadline)
        embedded = [
            replace(query, vector=vector, identity=collection.identity, model=model)
            for query, vector in zip(dense, vectors, strict=True)
        ]
        return await self._by_vector(embedded, keys)

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

    def _query(self, row: int, contents: Contents, at: int) -> Query:
        query = self.queries[row]
        return Query(
            collection=self.name,
            vector=contents.vectors[at],
            top_k=found_by_index(query),
            field=contents.fields[at],
            id=query.id,
            filter=filter_of(query, self.prefixes[row]),
            threshold=None if is_ordered_later(query) else query.score_threshold,
            diversity=query.diversity,
            include=included(query),
            consistency=self.body.consistency,
        )

    def _text_query(self, row: int) -> TextQuery:
        query, prefix = self.queries[row], self.prefixes[row]
        return TextQuery(
            collection=self.name,
            text=query.text or "",
            top_k=found_by_index(query),
            field=f"{prefix}text",
            filter=filter_of(query, prefix),
            include=included(query),
            consistency=self.body.consistency,
        )

    def _naming_candidates(self, error: LimitExceeded) -> InvalidInput:
        """Return an error of too large hits with the field that says how many there are."""
        for query, prefix in zip(self.queries, self.prefixes, strict=True):
            if error.field == f"{prefix}top_k" and is_ordered_later(query):
                part = "hybrid" if query.hybrid else "rerank"
                return error.with_field(f"{prefix}{part}.candidates")
        return error


async def _together(
    first: Coroutine[Any, Any, ShardedHits], second: Coroutine[Any, Any, ShardedHits]
) -> tuple[ShardedHits, ShardedHits]:
    """Await both; if one fails, cancel the other."""
    both = [asyncio.ensure_future(first), asyncio.ensure_future(second)]
    try:
        one, other = await asyncio.gather(*both)
        return one, other
    finally:
        for each in both:
            each.cancel()
