"""Searches one collection: query vectors, filter, nearest points, threshold, diversity, hits."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embedder.core.errors import NotFound, UnknownCollection
from embedder.core.storage_errors import UNNAMED, StorageDamaged
from embedder.core.types import Vectors
from embedder.index.collection.hits import HitReader, VersionChanged, budget_of
from embedder.index.collection.nearest import Neighbors, search
from embedder.index.collection.open_collection import OpenCollection
from embedder.index.collection.search_view import Allowed, SearchView, vectors_at
from embedder.index.contract.checks import check_vectors
from embedder.index.contract.filters import Filter
from embedder.index.contract.limits import MIN_SAMPLE, OVERSAMPLE
from embedder.index.contract.points import Hit, Query
from embedder.index.contract.response_budget import ResponseBudget
from embedder.index.segments.scoring import normalize
from embedder.index.segments.segment import are_among
from embedder.index.segments.segment_index import IndexState
from embedder.index.storage.protocol import Reader, Store
from embedder.index.storage.row_encoding import DISAGREE
from embedder.settings.model import IndexSettings
from embedder.similarity.mmr import maximal_marginal_relevance

TRIES = 3
"""Optimistic attempts while points are overwritten, before a search runs with writers blocked; also
attempts to filter at the sequence number of the state, while other requests write.
"""
MAX_SCORE = float(np.finfo(np.float32).max)


@dataclass(frozen=True, slots=True)
class Searcher:
    """Searches one collection on behalf of its shard; safe from several threads."""

    collection: OpenCollection
    store: Store
    settings: IndexSettings

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
            self.collection.check(query.identity, query.model)
        for _ in range(TRIES):
            try:
                return self._attempt(queries)
            except VersionChanged as changed:
                if self.collection.is_dropped:
                    raise UnknownCollection("collection", self.collection.name) from None
                self.collection.wait(changed.sequence)
        try:
            return self.store.run_exclusively(lambda: self._attempt(queries))
        except VersionChanged as changed:
            # Nothing is being written, so an entry of the database's index must be wrong.
            raise StorageDamaged(self.store.reader.location, DISAGREE, UNNAMED) from changed

    def _attempt(self, queries: Sequence[Query]) -> list[list[Hit]]:
        collection, first = self.collection, queries[0]
        count = collection.describe().count
        for query in queries:
            budget_of(query, collection.width).check(min(query.top_k, count))
        vectors, own_pks = self._vectors(queries)
        if first.filter is None:
            state, allowed = collection.state, None
        else:
            state, allowed = _filtered_state(collection, self.store.reader, first.filter)
        if state is None or vectors is None:
            return [[] for _ in queries]
        view = SearchView(state, collection.metric, self.settings, collection.fetch, allowed)
        wanted = first.top_k + any(pk is not None for pk in own_pks)
        if first.diversity is not None:
            wanted = max(OVERSAMPLE * wanted, MIN_SAMPLE)
        answers = [
            _select(view, query, vector, found if pk is None else found.take(found.pks != pk))
            for query, vector, pk, found in zip(
                queries, vectors, own_pks, search(view, vectors, wanted), strict=True
            )
        ]
        return HitReader(collection, self.store.reader, state).read(queries, answers)

    def _vectors(self, queries: Sequence[Query]) -> tuple[Vectors | None, list[int | None]]:
        """Return the normalized query vectors, and the pks of the points that queries name by id.

        A search by id does not return the point itself.
        """
        if any(query.id is not None for query in queries):
            return self._stored_vectors([query.id for query in queries])
        given = np.array([query.vector for query in queries])
        norms = check_vectors(
            given,
            width=self.collection.width,
            metric=self.collection.metric,
            names=[query.field for query in queries],
        )
        return normalize(self.collection.metric, given, norms), [None] * len(queries)

    def _stored_vectors(self, ids: Sequence[str | None]) -> tuple[Vectors | None, list[int | None]]:
        collection, width = self.collection, self.collection.width
        names = [name for name in ids if name is not None]
        rows: dict[str, tuple[int, Vectors]] = {}
        if width is not None:
            points = self.store.reader.by_ids(collection.id, names, ResponseBudget(()))
            pks = np.array(list({found.id: found.pk for found in points}.values()), np.int64)
            pairs, found, stored = self.store.reader.vectors(collection.id, pks, width)
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


def _filtered_state(
    collection: OpenCollection, reader: Reader, condition: Filter
) -> tuple[IndexState | None, Allowed | None]:
    """Return a state, at least as new as the filtered points, and its rows that meet the filter.

    Both are None before the first vector.
    """
    pairs, sequence = reader.matching(collection.id, condition)
    versions = [pairs]
    for _ in range(TRIES):
        # An older state would lack points that the filter has just found.
        collection.wait(sequence)
        state = collection.state
        if state is None or state.sequence == sequence:
            break
        pairs, sequence = reader.matching(collection.id, condition, sequence)
        versions.append(pairs)
    return state, None if state is None else _positions(state, versions)


def _positions(state: IndexState, versions: Sequence[NDArray[np.int64]]) -> Allowed:
    """Return for each segment, then for the delta, the positions of live rows among versions."""
    delta, size = state.delta, state.delta.size
    columns = [
        *((one.pks, one.seqs, one.live_mask()) for one in state.segments),
        (delta.pks[:size], delta.seqs[:size], delta.live),
    ]
    return [
        np.flatnonzero(live & np.any([are_among(pks, seqs, some) for some in versions], axis=0))
        for pks, seqs, live in columns
    ]


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
