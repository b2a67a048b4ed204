"""Searches one collection: query vectors, filter, nearest points, threshold, diversity, hits."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from embedder.core.errors import NotFound, UnknownCollection
from embedder.core.storage_errors import UNNAMED, StorageDamaged
from embedder.core.types import Vectors
from embedder.index.collection.following_collection import FollowingCollection
from embedder.index.collection.hits import HitReader, VersionChanged, budget_of
from embedder.index.collection.nearest import Neighbors, search
from embedder.index.collection.open_collection import OpenCollection
from embedder.index.collection.search_source import (
    TRIES,
    Source,
    agreeing,
    filtered,
    reads_rows_first,
)
from embedder.index.collection.search_view import SearchView, vectors_at
from embedder.index.contract.checks import check_vectors
from embedder.index.contract.limits import MIN_SAMPLE, OVERSAMPLE
from embedder.index.contract.points import Hit, Query
from embedder.index.contract.response_budget import ResponseBudget
from embedder.index.segments.scoring import normalize
from embedder.index.storage.protocol import Store
from embedder.index.storage.reader import Reader
from embedder.index.storage.row_encoding import DISAGREE
from embedder.index.storage.stale_reads import stale_reads
from embedder.settings.model import IndexSettings
from embedder.similarity.mmr import maximal_marginal_relevance

MAX_SCORE = float(np.finfo(np.float32).max)


@dataclass(slots=True)
class Searcher:
    """Searches one collection on behalf of its shard; safe from several threads."""

    collection: OpenCollection
    store: Store
    settings: IndexSettings

    def search(self, queries: Sequence[Query]) -> list[list[Hit]]:
        """Return the hits of queries with the same ``top_k``, filter, diversity and consistency.

        Raises:
            NotFound: a query is by an id that is not stored.
            LimitExceeded: the hits of a query are too large; or those of all queries together are,
                if each of them has a limit.
            StaleCollection: a query is for another identity or model than the collection has.
            StageUnavailable: the store is needed, and does not answer.
            StorageDamaged: a row that was found fails its checksum.
        """
        for query in queries:
            self.collection.check(query.identity, query.model)
        if not isinstance(self.collection, FollowingCollection):
            return self._search_own(self.collection, queries)
        if queries[0].consistency == "stale":
            return self._search_stale(self.collection, queries)
        return self._search_shared(self.collection, queries)

    def _search_own(self, collection: OpenCollection, queries: Sequence[Query]) -> list[list[Hit]]:
        """Search a collection that no other process writes."""
        reader, condition = self.store.reader, queries[0].filter

        def attempt() -> list[list[Hit]]:
            if condition is None:
                return self._attempt(queries, Source(reader, collection.state))
            return self._attempt(queries, filtered(collection, reader, condition))

        for _ in range(TRIES):
            try:
                return attempt()
            except VersionChanged as changed:
                if collection.is_dropped:
                    raise UnknownCollection("collection", collection.name) from None
                collection.wait(changed.sequence)
        try:
            return self.store.run_exclusively(attempt)
        except VersionChanged as changed:
            # Nothing is being written, so an entry of the database's index must be wrong.
            raise StorageDamaged(reader.location, DISAGREE, UNNAMED) from changed

    def _search_shared(
        self, collection: FollowingCollection, queries: Sequence[Query]
    ) -> list[list[Hit]]:
        """Search a collection that other processes write too, and that has followed its log."""
        if not any(reads_rows_first(query) for query in queries):
            with suppress(VersionChanged):
                return self._attempt(queries, Source(self.store.reader, collection.state))
        with collection.pinned() as (reader, state):
            try:
                return self._attempt(queries, agreeing(collection, reader, state, queries[0]))
            except VersionChanged as changed:
                # All is of one moment, so an entry of the database's index must be wrong.
                raise StorageDamaged(reader.location, DISAGREE, UNNAMED) from changed

    def _search_stale(
        self, collection: OpenCollection, queries: Sequence[Query]
    ) -> list[list[Hit]]:
        with stale_reads():
            source = agreeing(collection, self.store.reader, collection.state, queries[0])
            return self._attempt(queries, replace(source, strict=False))

    def _attempt(self, queries: Sequence[Query], source: Source) -> list[list[Hit]]:
        collection, first, state = self.collection, queries[0], source.state
        if any([query.max_bytes is not None for query in queries]):
            count = state.count if state else 0
            for query in queries:
                budget_of(query, collection.width).check(min(query.top_k, count))
        vectors, own_pks = self._vectors(queries, source.reader)
        if state is None or vectors is None:
            return [[] for _ in queries]
        fetch = partial(collection.fetch, source.reader)
        view = SearchView(state, collection.metric, self.settings, fetch, source.allowed)
        wanted = first.top_k + (own_pks.count(None) < len(own_pks))
        if first.diversity is not None:
            wanted = max(OVERSAMPLE * wanted, MIN_SAMPLE)
        answers = [
            _select(view, query, vector, found if pk is None else found.take(found.pks != pk))
            for query, vector, pk, found in zip(
                queries, vectors, own_pks, search(view, vectors, wanted), strict=True
            )
        ]
        hits = HitReader(collection, source.reader, state, source.strict)
        return hits.read(queries, answers)

    def _vectors(
        self, queries: Sequence[Query], reader: Reader
    ) -> tuple[Vectors | None, list[int | None]]:
        """Return the normalized query vectors, and the pks of the points that queries name by id.

        A search by id does not return the point itself.
        """
        ids = [query.id for query in queries]
        if ids.count(None) < len(ids):
            return self._stored_vectors(ids, reader)
        first = queries[0].vector
        if len(queries) == 1 and first is not None:
            given = first[None]
        else:
            given = np.array([query.vector for query in queries])
        norms = check_vectors(
            given,
            width=self.collection.width,
            metric=self.collection.metric,
            names=[query.field for query in queries],
        )
        return normalize(self.collection.metric, given, norms), [None] * len(queries)

    def _stored_vectors(
        self, ids: Sequence[str | None], reader: Reader
    ) -> tuple[Vectors | None, list[int | None]]:
        collection, width = self.collection, self.collection.width
        names = [name for name in ids if name is not None]
        rows: dict[str, tuple[int, Vectors]] = {}
        if width is not None:
            points = reader.by_ids(collection.id, names, ResponseBudget(()))
            pks = np.array(list({found.id: found.pk for found in points}.values()), np.int64)
            pairs, found, stored = reader.vectors(collection.id, pks, width)
            for (pk, _), name, vector in zip(pairs.tolist(), found, stored, strict=True):
                rows[name] = (pk, vector)
        for name in names:
            if name not in rows:
                raise NotFound("id", name)
        vectors = np.stack([rows[name][1] for name in names])
        return normalize(collection.metric, vectors), [rows[name][0] for name in names]


def group_queries(queries: Sequence[Query]) -> Iterable[list[int]]:
    """Return the rows of queries in groups that one call of a `Searcher` can search."""
    if len(queries) == 1:
        return [[0]]
    groups: dict[Hashable, list[int]] = defaultdict(list)
    for row, query in enumerate(queries):
        width = None if query.vector is None else len(query.vector)
        own = (query.collection, query.top_k, query.filter, query.consistency)
        key = (*own, query.diversity is None, width)
        groups[key].append(row)
    return groups.values()


def _select(view: SearchView, query: Query, vector: Vectors, found: Neighbors) -> Neighbors:
    """Return the candidates that pass the threshold and the choice by diversity."""
    if query.threshold is not None:
        # Beyond float32, the largest number of float32 is above or below every score as well.
        bound = min(max(query.threshold, -MAX_SCORE), MAX_SCORE)
        found = found.take(found.scores >= bound)
    if query.diversity is None or not len(found):
        return found if len(found) <= query.top_k else found.take(slice(query.top_k))
    order = maximal_marginal_relevance(
        vector,
        vectors_at(view, found.pks, found.locations),
        query.top_k,
        diversity=query.diversity,
        metric=view.metric.similarity,
    )
    return found.take(order)
