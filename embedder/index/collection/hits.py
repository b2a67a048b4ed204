"""Turns the rows that a search found into hits with the fields that the query includes.

The score, text, metadata and vector of a hit belong to one version of the point, although the store
may be ahead of the searched state for a moment. Only the score of a stale search may be older.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from embedder.index.collection.nearest import Neighbors
from embedder.index.collection.open_collection import OpenCollection
from embedder.index.collection.search_view import ids_at, seq_at
from embedder.index.contract.points import PAYLOAD, Hit, Payload, Query
from embedder.index.contract.response_budget import ResponseBudget
from embedder.index.segments.segment_index import IndexState
from embedder.index.storage.reader import Reader
from embedder.index.storage.row_encoding import decode_metadata

_PAYLOAD = frozenset(PAYLOAD)

SHARED_BYTES = 16 * 2**20
"""Upper bound on the texts and metadata that are read for several queries together."""


class VersionChanged(Exception):
    """The store has another version of a found point; ``sequence`` is that of the newest."""

    def __init__(self, sequence: int) -> None:
        super().__init__(sequence)
        self.sequence = sequence


@dataclass(slots=True)
class HitReader:
    """Reads the hits of one collection in one state."""

    collection: OpenCollection
    reader: Reader
    state: IndexState
    strict: bool = True
    """Without it, points that were deleted since are left out, and others may be newer."""

    def read(self, queries: Sequence[Query], answers: Sequence[Neighbors]) -> list[list[Hit]]:
        """Return the hits of each query.

        Raises:
            VersionChanged: ``strict``, and a found point was overwritten or deleted since.
            LimitExceeded: the hits of a query are too large; or those of all queries together are,
                if each of them has a limit.
            StorageDamaged: a row fails its checksum.
        """
        with_payload = [not _PAYLOAD.isdisjoint(query.include) for query in queries]
        pks = {
            pk
            for found, wanted in zip(answers, with_payload, strict=True)
            if wanted
            for pk in found.pks.tolist()
        }
        payloads: dict[int, Payload] = {}
        if pks:
            several = len(queries) > 1
            width = self.collection.width
            budget = _shared_budget(queries) if several else budget_of(queries[0], width)
            payloads = self.reader.payloads(self.collection.id, list(pks), budget)
        if not self.strict:
            answers = [
                found.take(np.isin(found.pks, list(payloads))) if wanted else found
                for found, wanted in zip(answers, with_payload, strict=True)
            ]
        hits = [self._hits(found) for found in answers]
        for row, (query, found) in enumerate(zip(queries, answers, strict=True)):
            if with_payload[row]:
                self._add_payloads(query, found, hits[row], payloads)
            if "vector" in query.include:
                hits[row] = self._with_vectors(found, hits[row])
        return hits

    def _hits(self, found: Neighbors) -> list[Hit]:
        scores, ids = found.scores.tolist(), ids_at(self.state, found.locations)
        is_distance = self.collection.metric.is_distance
        distances = [-score for score in scores] if is_distance else [None] * len(scores)
        return [*map(Hit, ids, scores, distances)]

    def _add_payloads(
        self, query: Query, found: Neighbors, hits: list[Hit], payloads: dict[int, Payload]
    ) -> None:
        budget = budget_of(query, self.collection.width)
        with_text, with_metadata = "text" in query.include, "metadata" in query.include
        for hit, pk, location in zip(
            hits, found.pks.tolist(), found.locations.tolist(), strict=True
        ):
            payload = payloads.get(pk)
            if payload is None or (self.strict and payload.seq != seq_at(self.state, location)):
                raise VersionChanged(payload.seq if payload else self.state.sequence + 1)
            budget.require(payload)
            if with_text:
                hit.text = payload.text
            if with_metadata:
                hit.metadata = decode_metadata(payload.metadata)

    def _with_vectors(self, found: Neighbors, hits: list[Hit]) -> list[Hit]:
        pairs, _, vectors = self.reader.vectors(self.collection.id, found.pks, self.state.width)
        if not self.strict:
            rows = dict(zip(pairs[:, 0].tolist(), vectors, strict=True))
            return [
                replace(hit, vector=rows[pk])
                for hit, pk in zip(hits, found.pks.tolist(), strict=True)
                if pk in rows
            ]
        seqs = [seq_at(self.state, location) for location in found.locations.tolist()]
        if pairs.tolist() != [list(pair) for pair in zip(found.pks.tolist(), seqs, strict=True)]:
            raise VersionChanged(self.state.sequence + 1)
        return [replace(hit, vector=vector) for hit, vector in zip(hits, vectors, strict=True)]


def budget_of(query: Query, width: int | None) -> ResponseBudget:
    """Return the budget of the hits of a query."""
    field = f"{query.field.removesuffix('vector')}top_k"
    return ResponseBudget(query.include, max_bytes=query.max_bytes, width=width, field=field)


def _shared_budget(queries: Sequence[Query]) -> ResponseBudget:
    """Return the budget of payloads that are read once for several queries.

    If it is exceeded, callers that set limits send the queries again one by one.
    """
    limited = all(query.max_bytes is not None for query in queries)
    include = {field for query in queries for field in query.include if field in PAYLOAD}
    max_bytes = SHARED_BYTES if limited else None
    return ResponseBudget(tuple(include), max_bytes=max_bytes, field="queries")
