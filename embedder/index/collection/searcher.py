"""Answers searches over one collection: filters, thresholds, diversity, and what comes with a hit.

A hit is of one version: its score, text and metadata belong together, though the truth may be
ahead of what is searched for a moment. Knows nothing of other collections.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from embedder.core.errors import NotFound, UnknownCollection
from embedder.core.storage_errors import UNNAMED, StorageDamaged
from embedder.core.types import Vectors
from embedder.index.collection.nearest import (
    Allowed,
    Neighbors,
    SearchView,
    names_at,
    rows_at,
    search,
    seq_at,
)
from embedder.index.collection.open_collection import OpenCollection
from embedder.index.contract.checks import check_vectors
from embedder.index.contract.filters import Filter
from embedder.index.contract.limits import MIN_SAMPLE, OVERSAMPLE
from embedder.index.contract.points import PAYLOAD, Hit, Query
from embedder.index.contract.response_budget import ResponseBudget
from embedder.index.segments.index_state import IndexState
from embedder.index.segments.scoring import normalize
from embedder.index.segments.segment import SearchParams
from embedder.index.storage.reading import Payload, Reader
from embedder.index.storage.rows import decode_metadata
from embedder.similarity.mmr import maximal_marginal_relevance

TRIES = 3
"""Searches begun anew while points are overwritten, before writers are held for one."""
LARGEST_SCORE = float(np.finfo(np.float32).max)
SHARED_BYTES = 16 * 2**20
"""Of texts and metadata that are read for several queries together."""

Hold = Callable[[Callable[[], list[list[Hit]]]], list[list[Hit]]]
"""Runs a search while nothing is committed."""


class _Moved(Exception):
    """The truth has another version of a point than was found; ``sequence`` is the newest."""

    def __init__(self, sequence: int) -> None:
        super().__init__(sequence)
        self.sequence = sequence


class Searcher:
    """Searches one collection on behalf of its shard; safe from several threads."""

    def __init__(
        self, collection: OpenCollection, reader: Reader, effort: SearchParams, hold: Hold
    ) -> None:
        self._collection = collection
        self._reader = reader
        self._effort = effort
        self._hold = hold

    def search(self, queries: Sequence[Query]) -> list[list[Hit]]:
        """Return the hits of queries of the same ``top_k``, filter and diversity.

        Raises:
            NotFound: a query is by an id that is not stored.
            LimitExceeded: the hits of a query are too large; or those of all of them together are,
                where they have limits.
            StaleCollection: a query is for another identity or model than the collection has.
            StorageDamaged: a row that was found fails its checksum.
        """
        for query in queries:
            self._collection.check(query.identity, query.model)
        for _ in range(TRIES):
            try:
                return self._attempt(queries)
            except _Moved as moved:
                if self._collection.is_dropped:
                    raise UnknownCollection("collection", self._collection.name) from None
                self._collection.wait(moved.sequence)
        try:
            return self._hold(lambda: self._attempt(queries))
        except _Moved as moved:
            # Nothing was being written, so what is searched came from another row than this.
            path, problem = str(self._reader.path), "the rows and the index of a table disagree"
            raise StorageDamaged(path, problem, UNNAMED) from moved

    def _attempt(self, queries: Sequence[Query]) -> list[list[Hit]]:
        collection, first = self._collection, queries[0]
        count = collection.describe().count
        for query in queries:
            _room(query, collection.width).check(min(query.top_k, count))
        vectors, own = self._vectors(queries)
        state, allowed = self._allowed(first.filter)
        if state is None or vectors is None:
            return [[] for _ in queries]
        view = SearchView(state, collection.metric, self._effort, collection.fetch, allowed)
        wanted = first.top_k + any(pk is not None for pk in own)
        if first.diversity is not None:
            wanted = max(OVERSAMPLE * wanted, MIN_SAMPLE)
        answers = [
            _chosen(view, query, vector, found if pk is None else found.take(found.pks != pk))
            for query, vector, pk, found in zip(
                queries, vectors, own, search(view, vectors, wanted), strict=True
            )
        ]
        return self._dressed(state, queries, answers)

    def _vectors(self, queries: Sequence[Query]) -> tuple[Vectors | None, list[int | None]]:
        """Return placed vectors, and the pks of the points that are themselves the questions."""
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
        """Return the placed vectors of points, and their pks."""
        collection, width = self._collection, self._collection.width
        names = [name for name in ids if name is not None]
        rows: dict[str, tuple[int, Vectors]] = {}
        if width is not None:
            points = self._reader.by_ids(collection.id, names, ResponseBudget(()))
            known = {found.id: found.pk for found in points}
            pks = np.array(list(known.values()), np.int64)
            pairs, found, stored = self._reader.vectors(pks, width)
            for (pk, _), name, vector in zip(pairs.tolist(), found, stored, strict=True):
                rows[name] = (pk, vector)
        for name in names:
            if name not in rows:
                raise NotFound("id", name)
        vectors = np.stack([rows[name][1] for name in names])
        return normalize(collection.metric, vectors), [rows[name][0] for name in names]

    def _allowed(self, condition: Filter | None) -> tuple[IndexState | None, Allowed | None]:
        """Return a state, and which of its rows meet the filter."""
        if condition is None:
            return self._collection.state, None
        pairs, sequence = self._reader.matching(self._collection.id, condition)
        versions = [pairs]
        for _ in range(TRIES):
            # Never older than what the filter was judged by, or new points could not be found.
            self._collection.wait(sequence)
            state = self._collection.state
            if state is None or state.sequence == sequence:
                break
            pairs, sequence = self._reader.matching(self._collection.id, condition, sequence)
            versions.append(pairs)
        return state, None if state is None else _positions(state, versions)

    def _dressed(
        self, state: IndexState, queries: Sequence[Query], answers: Sequence[Neighbors]
    ) -> list[list[Hit]]:
        """Return hits with what each query includes."""
        with_payload = [any(part in PAYLOAD for part in query.include) for query in queries]
        pks = {
            int(pk)
            for found, wanted in zip(answers, with_payload, strict=True)
            if wanted
            for pk in found.pks.tolist()
        }
        payloads: dict[int, Payload] = {}
        if pks:
            alone = len(queries) == 1
            room = _room(queries[0], self._collection.width) if alone else _shared_room(queries)
            payloads = self._reader.payloads(self._collection.id, list(pks), room)
        hits = [
            self._hits(state, query, found, payloads if wanted else None)
            for query, found, wanted in zip(queries, answers, with_payload, strict=True)
        ]
        with_vectors = [row for row, query in enumerate(queries) if "vector" in query.include]
        for row in with_vectors:
            hits[row] = self._with_vectors(state, answers[row], hits[row])
        return hits

    def _hits(
        self, state: IndexState, query: Query, found: Neighbors, payloads: dict[int, Payload] | None
    ) -> list[Hit]:
        scores, names = found.scores.tolist(), names_at(state, found.places)
        is_distance = self._collection.metric.is_distance
        distances = [-score for score in scores] if is_distance else [None] * len(scores)
        hits = [*map(Hit, names, scores, distances)]
        if payloads is None:
            return hits
        room = _room(query, self._collection.width)
        for hit, pk, where in zip(hits, found.pks.tolist(), found.places.tolist(), strict=True):
            payload = payloads.get(pk)
            if payload is None or payload.seq != seq_at(state, where):
                raise _Moved(payload.seq if payload else state.sequence + 1)
            room.require(payload)
            hit.text = payload.text if "text" in query.include else None
            if "metadata" in query.include:
                hit.metadata = decode_metadata(payload.metadata)
        return hits

    def _with_vectors(self, state: IndexState, found: Neighbors, hits: list[Hit]) -> list[Hit]:
        width = state.delta.rows.shape[1]
        pairs, _, vectors = self._reader.vectors(found.pks, width)
        seqs = [seq_at(state, where) for where in found.places.tolist()]
        if pairs.tolist() != [list(pair) for pair in zip(found.pks.tolist(), seqs, strict=True)]:
            raise _Moved(state.sequence + 1)
        return [replace(hit, vector=vector) for hit, vector in zip(hits, vectors, strict=True)]


def group_queries(queries: Sequence[Query]) -> Iterable[list[int]]:
    """Return the rows of queries that one call of a `Searcher` answers, group by group."""
    groups: dict[Hashable, list[int]] = defaultdict(list)
    for row, query in enumerate(queries):
        width = None if query.vector is None else len(query.vector)
        key = (query.collection, query.top_k, query.filter, query.diversity is None, width)
        groups[key].append(row)
    return groups.values()


def _room(query: Query, width: int | None) -> ResponseBudget:
    """Return the room that the hits of a query have."""
    field = f"{query.field.removesuffix('vector')}top_k"
    return ResponseBudget(query.include, max_bytes=query.max_bytes, width=width, field=field)


def _shared_room(queries: Sequence[Query]) -> ResponseBudget:
    """Return the room for what is read for several queries that are answered together.

    Callers that have limits ask again for the queries one by one where there is none.
    """
    limited = all(query.max_bytes is not None for query in queries)
    include = {part for query in queries for part in query.include if part in PAYLOAD}
    return ResponseBudget(
        tuple(include), max_bytes=SHARED_BYTES if limited else None, field="queries"
    )


def _chosen(view: SearchView, query: Query, vector: Vectors, found: Neighbors) -> Neighbors:
    """Return what a query wants of its candidates."""
    if query.threshold is not None:
        # What float32 cannot hold is as far above or below every score as its largest number.
        bound = min(max(query.threshold, -LARGEST_SCORE), LARGEST_SCORE)
        found = found.take(found.scores >= bound)
    if query.diversity is None or not len(found):
        return found.take(slice(query.top_k))
    order = maximal_marginal_relevance(
        vector,
        rows_at(view, found.pks, found.places),
        query.top_k,
        diversity=query.diversity,
        metric=view.metric.similarity,
    )
    return found.take(order)


def _positions(state: IndexState, versions: Sequence[NDArray[np.int64]]) -> list[NDArray[np.int64]]:
    """Return for each part the positions of living rows that are one of the versions."""
    allowed = []
    for live in state.segments:
        marks = live.marks()
        marks &= _are_among(live.segment.pks, live.segment.seqs, versions)
        allowed.append(np.flatnonzero(marks))
    delta, size = state.delta, state.delta.size
    marks = _are_among(delta.pks[:size], delta.seqs[:size], versions) & delta.alive
    return [*allowed, np.flatnonzero(marks)]


def _are_among(
    pks: NDArray[np.int64], seqs: NDArray[np.int64], versions: Sequence[NDArray[np.int64]]
) -> NDArray[np.bool_]:
    marks = np.zeros(len(pks), np.bool_)
    for pairs in versions:
        if len(pairs):
            at = np.minimum(np.searchsorted(pairs[:, 0], pks), len(pairs) - 1)
            marks |= (pairs[at, 0] == pks) & (pairs[at, 1] == seqs)
    return marks
