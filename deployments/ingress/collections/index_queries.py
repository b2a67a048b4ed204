"""The queries of a search as the index takes them, one for each ranking of a query."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from deployments.ingress.collections.embedding import Contents, Embedded
from deployments.ingress.collections.search_bodies import QueryBody
from deployments.ingress.collections.search_queries import (
    by_sparse,
    by_vector,
    by_words,
    filter_of,
    found_by_index,
    included,
    is_ordered_later,
)
from deployments.ingress.service.search_admission import key_of
from embedder.core.errors import InvalidInput
from embedder.index.contract.points import Consistency, Query
from embedder.index.contract.sparse import SparseVector
from embedder.index.contract.sparse_queries import SparseQuery
from embedder.index.contract.texts import TextQuery

UNKNOWN = SparseVector.of({})
"""Stands for the weights of a query before the model has computed them."""


@dataclass(frozen=True, slots=True)
class AskedQueries:
    """The queries of a request for each ranking, by the row of a query in the request.

    ``contents`` are the vectors of ``dense``, as far as they are known, and the texts that the
    model reads; ``items`` has the place of each row in them. ``keys`` are those of ``dense``.
    ``sparse`` lacks its weights. ``prefixes`` precede the fields of each query in errors.
    """

    contents: Contents
    items: Mapping[int, int]
    dense: Mapping[int, Query]
    words: Mapping[int, TextQuery]
    sparse: Mapping[int, SparseQuery]
    keys: Sequence[bytes]
    prefixes: Sequence[str]

    @classmethod
    def of(
        cls,
        collection: str,
        queries: Sequence[QueryBody],
        prefixes: Sequence[str],
        consistency: Consistency,
    ) -> AskedQueries:
        """Return the queries of a request.

        Raises:
            InvalidInput: a vector or a filter is invalid.
        """
        made = [
            _Queries(collection, query, prefix, consistency)
            for query, prefix in zip(queries, prefixes, strict=True)
        ]
        rows = [row for row, one in enumerate(queries) if by_vector(one) or by_sparse(one)]
        items = {row: at for at, row in enumerate(rows)}
        sparse = {row: made[row].by_sparse() for row in rows if by_sparse(queries[row])}
        contents = Contents.of(
            [queries[row] for row in rows],
            [prefixes[row] for row in rows],
            [items[row] for row in sparse],
        )
        dense = {
            row: made[row].by_vector(contents, at)
            for row, at in items.items()
            if by_vector(queries[row])
        }
        words = {row: made[row].by_words() for row, one in enumerate(queries) if by_words(one)}
        keys = [key_of(query, contents.texts.get(items[row])) for row, query in dense.items()]
        return cls(contents, items, dense, words, sparse, keys, prefixes)

    def with_vectors(self, embedded: Embedded, identity: str) -> list[Query]:
        """Return the queries by vectors, with those that the model has computed."""
        vectors, model = embedded.vectors, embedded.model
        return [
            replace(query, vector=vectors[self.items[row]], identity=identity, model=model)
            for row, query in self.dense.items()
        ]

    def with_weights(self, embedded: Embedded, identity: str) -> list[SparseQuery]:
        """Return the queries by sparse weights, with those that the model has computed.

        Raises:
            InvalidInput: the model computes none.
        """
        found = []
        for row, query in self.sparse.items():
            weights = embedded.sparse[self.items[row]]
            if weights is None:
                raise InvalidInput(
                    f"{self.prefixes[row]}hybrid.weights.sparse",
                    f"is above 0, but the model of the collection, {embedded.model.name!r}, "
                    "computes no sparse weights",
                )
            model = embedded.model
            found.append(replace(query, weights=weights, identity=identity, model=model))
        return found


@dataclass(frozen=True, slots=True)
class _Queries:
    """Makes the queries of one query of a request; ``prefix`` precedes its fields in errors."""

    collection: str
    query: QueryBody
    prefix: str
    consistency: Consistency

    def by_vector(self, contents: Contents, at: int) -> Query:
        query = self.query
        return Query(
            collection=self.collection,
            vector=contents.vectors[at],
            top_k=found_by_index(query),
            field=contents.fields[at],
            id=query.id,
            filter=filter_of(query, self.prefix),
            threshold=None if is_ordered_later(query) else query.score_threshold,
            diversity=query.diversity,
            include=included(query),
            consistency=self.consistency,
        )

    def by_words(self) -> TextQuery:
        return TextQuery(
            collection=self.collection,
            text=self.query.text or "",
            top_k=found_by_index(self.query),
            field=f"{self.prefix}text",
            filter=filter_of(self.query, self.prefix),
            include=included(self.query),
            consistency=self.consistency,
        )

    def by_sparse(self) -> SparseQuery:
        return SparseQuery(
            collection=self.collection,
            weights=UNKNOWN,
            top_k=found_by_index(self.query),
            field=f"{self.prefix}text",
            filter=filter_of(self.query, self.prefix),
            include=included(self.query),
            consistency=self.consistency,
        )
