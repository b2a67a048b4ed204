"""Turns points that postings have scored into the hits of a query, in the rows of one moment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embedder.index.contract.points import Hit, Payload
from embedder.index.contract.response_budget import ResponseBudget
from embedder.index.contract.sparse_queries import SparseQuery
from embedder.index.contract.texts import TextQuery
from embedder.index.storage.reader import Reader
from embedder.index.storage.row_encoding import decode_metadata

TIES = 10_000
"""The most hits of one score that are ordered by their ids, from the first inserted one on."""

PostingQuery = TextQuery | SparseQuery
"""A query whose points are scored through postings."""


class NotIndexed(Exception):
    """The rows of the collection do not all have their postings yet."""


@dataclass(frozen=True, slots=True)
class ScoredHits:
    """Reads the hits of one collection; ``reader`` sees one moment."""

    reader: Reader
    collection: int
    width: int | None

    def of(
        self, query: PostingQuery, pks: NDArray[np.int64], found: NDArray[np.float64]
    ) -> list[Hit]:
        """Return the hits of a query, given the points int64[n] and their scores.

        Raises:
            LimitExceeded: the hits take more than ``max_bytes`` in a response.
            StorageDamaged: a row that was found fails its checksum.
        """
        kept = self._kept(query, pks, found)
        chosen, scored = self._best(query, pks[kept], found[kept])
        return self._hits(query, chosen, scored)

    def _kept(
        self, query: PostingQuery, pks: NDArray[np.int64], found: NDArray[np.float64]
    ) -> NDArray[np.bool_]:
        kept = np.ones(len(pks), np.bool_)
        if query.threshold is not None:
            kept &= found >= query.threshold
        if query.filter is not None:
            pairs, _ = self.reader.matching(self.collection, query.filter)
            kept &= np.isin(pks, pairs[:, 0])
        return kept

    def _best(
        self, query: PostingQuery, pks: NDArray[np.int64], found: NDArray[np.float64]
    ) -> tuple[list[Payload], list[float]]:
        """Return the best points and their scores; equal scores are in the order of the ids."""
        if not len(pks):
            return [], []
        top = min(query.top_k, len(pks))
        budget = _budget(query, self.width)
        budget.check(top)
        least = np.partition(found, len(pks) - top)[len(pks) - top]
        above, level = np.flatnonzero(found > least), np.flatnonzero(found == least)
        at = np.concatenate([above, level[: max(TIES, top)]])
        by_pk = dict(zip(pks[at].tolist(), found[at].tolist(), strict=True))
        if len(by_pk) > top:
            named = self.reader.payloads(self.collection, list(by_pk), ResponseBudget(()))
            kept = sorted(named.values(), key=lambda one: (-by_pk[one.pk], one.id))[:top]
            by_pk = {one.pk: by_pk[one.pk] for one in kept}
        stored = self.reader.payloads(self.collection, list(by_pk), budget)
        order = sorted(stored.values(), key=lambda one: (-by_pk[one.pk], one.id))
        return order, [by_pk[one.pk] for one in order]

    def _hits(
        self, query: PostingQuery, chosen: Sequence[Payload], scored: Sequence[float]
    ) -> list[Hit]:
        with_metadata = "metadata" in query.include
        hits = [
            Hit(
                one.id,
                score,
                None,
                one.text,
                decode_metadata(one.metadata) if with_metadata else {},
            )
            for one, score in zip(chosen, scored, strict=True)
        ]
        if "vector" in query.include and hits and self.width is not None:
            pks = np.array([one.pk for one in chosen], np.int64)
            _, _, vectors = self.reader.vectors(self.collection, pks, self.width)
            for hit, vector in zip(hits, vectors, strict=True):
                hit.vector = vector
        return hits


def _budget(query: PostingQuery, width: int | None) -> ResponseBudget:
    field = f"{query.field.removesuffix('text')}top_k"
    return ResponseBudget(query.include, max_bytes=query.max_bytes, width=width, field=field)
