"""Searches one collection: query vectors, filter, nearest points, threshold, diversity, hits."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence

import numpy as np

from embedder.core.errors import NotFound, UnknownCollection
from embedder.core.storage_errors import UNNAMED, StorageDamaged
from embedder.core.types import Vectors
from embedder.index.collection.filtering import filtered_state
from embedder.index.collection.hits import HitReader, VersionChanged, budget_of
from embedder.index.collection.nearest import Neighbors, search
from embedder.index.collection.open_collection import OpenCollection
from embedder.index.collection.search_view import SearchView, vectors_at
from embedder.index.contract.checks import check_vectors
from embedder.index.contract.limits import MIN_SAMPLE, OVERSAMPLE
from embedder.index.contract.points import Hit, Query
from embedder.index.contract.response_budget import ResponseBudget
from embedder.index.segments.scoring import normalize
from embedder.index.segments.segment import SearchParams
from embedder.index.storage.reading import Reader
from embedder.similarity.mmr import maximal_marginal_relevance

TRIES = 3
"""Optimistic attempts while points are overwritten, before a search runs with writers blocked."""
MAX_SCORE = float(np.finfo(np.float32).max)

BlockWrites = Callable[[Callable[[], list[list[Hit]]]], list[list[Hit]]]
"""Runs a search while nothing is committed, and returns its result."""


class Searcher:
    """Searches one collection on behalf of its shard; safe from several threads."""

    def __init__(
        self,
        collection: OpenCollection,
        reader: Reader,
        params: SearchParams,
        block_writes: BlockWrites,
    ) -> None:
        self._collection = collection
        self._reader = reader
        self._params = params
        self._block_writes = block_writes

    def search(self, queries: Sequence[Query]) -> list[list[Hit]]:
        """Return the hits of queries with the same ``top_k``, filter and diversity.

        Raises:
            NotFound: a query is by an id that is not stored.
            LimitExceeded: the hits of a query are too large; or those of all queries together are,
                if each of them has a limit.
            StaleCollection: a query is for another identity or model than the collection has.
            StorageDamaged: a row that was found fails its checksum.
        """
        for query in queries:
            self._collection.check(query.identity, query.model)
        for _ in range(TRIES):
            try:
                return self._attempt(queries)
            except VersionChanged as changed:
                if self._collection.is_dropped:
                    raise UnknownCollection("collection", self._collection.name) from None
                self._collection.wait(changed.sequence)
        try:
            return self._block_writes(lambda: self._attempt(queries))
        except VersionChanged as changed:
            # Nothing is being written, so an entry of the database's index must be wrong.
            path, problem = str(self._reader.path), "the rows and the index of a table disagree"
            raise StorageDamaged(path, problem, UNNAMED) from changed

    def _attempt(self, queries: Sequence[Query]) -> list[list[Hit]]:
        collection, first = self._collection, queries[0]
        count = collection.describe().count
        for query in queries:
            budget_of(query, collection.width).check(min(query.top_k, count))
        vectors, own_pks = self._vectors(queries)
        if first.filter is None:
            state, allowed = collection.state, None
        else:
            state, allowed = filtered_state(collection, self._reader, first.filter)
        if state is None or vectors is None:
            return [[] for _ in queries]
        view = SearchView(state, collection.metric, self._params, collection.fetch, allowed)
        wanted = first.top_k + any(pk is not None for pk in own_pks)
        if first.diversity is not None:
            wanted = max(OVERSAMPLE * wanted, MIN_SAMPLE)
        answers = [
            _select(view, query, vector, found if pk is None else found.take(found.pks != pk))
            for query, vector, pk, found in zip(
                queries, vectors, own_pks, search(view, vectors, wanted), strict=True
            )
        ]
        return HitReader(collection, self._reader, state).read(queries, answers)

    def _vectors(self, queries: Sequence[Query]) -> tuple[Vectors | None, list[int | None]]:
        """Return the normalized query vectors, and the pks of the points that queries name by id.

        A search by id does not return the point itself.
        """
        if any(query.id is not None for query in queries):
            return self._stored_vectors([query.id for query in queries])
        given = np.array([query.vector for query in queries])
        norms = check_vectors(
            given,
            width=self._collection.width,
            metric=self._collection.metric,
            names=[query.field for query in queries],
        )
        return normalize(self._collection.metric, given, norms), [None] * len(queries)

    def _stored_vectors(self, ids: Sequence[str | None]) -> tuple[Vectors | None, list[int | None]]:
        collection, width = self._collection, self._collection.width
        names = [name for name in ids if name is not None]
        rows: dict[str, tuple[int, Vectors]] = {}
        if width is not None:
            points = self._reader.by_ids(collection.id, names, ResponseBudget(()))
            pks = np.array(list({found.id: found.pk for found in points}.values()), np.int64)
            pairs, found, stored = self._reader.vectors(pks, width)
            for (pk, _), name, vector in zip(pairs.tolist(), found, stored, strict=True):
                rows[name] = (pk, vector)
        for name in names:
            if name not in rows:
                raise NotFound("id", name)
        vectors = np.stack([rows[name][1] for name in names])
        return normalize(collection.metric, vectors), [rows[name][0] for name in names]


def group_queries(queries: Sequence[Query]) -> Iterable[list[int]]:
    """Return the rows of queries in groups that one call of a `Searcher` can search."""
    groups: dict[Hashable, list[int]] = defaultdict(list)
    for row, query in enumerate(queries):
        width = None if query.vector is None else len(query.vector)
        key = (query.collection, query.top_k, query.filter, query.diversity is None, width)
        groups[key].append(row)
    return groups.values()


def _select(view: SearchView, query: Query, vector: Vectors, found: Neighbors) -> Neighbors:
    """Return the candidates that pass the threshold and the choice by diversity."""
    if query.threshold is not None:
        # Beyond float32, the largest number of float32 is above or below every score as well.
        bound = min(max(query.threshold, -MAX_SCORE), MAX_SCORE)
        found = found.take(found.scores >= bound)
    if query.diversity is None or not len(found):
        return found.take(slice(query.top_k))
    order = maximal_marginal_relevance(
        vector,
        vectors_at(view, found.pks, found.locations),
        query.top_k,
        diversity=query.diversity,
        metric=view.metric.similarity,
    )
    return found.take(order)
