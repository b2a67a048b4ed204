"""Searches one collection by sparse vectors, in the rows of one moment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from embedder.index.collection.postings.scored_hits import NotIndexed, ScoredHits
from embedder.index.contract.points import Hit
from embedder.index.contract.sparse_queries import SparseQuery
from embedder.index.sparse.dot_product import scores
from embedder.index.sparse.sparse_index import ALL
from embedder.index.storage.reader import Reader


@dataclass(frozen=True, slots=True)
class SparseSearcher:
    """Searches the sparse vectors of a collection; ``reader`` sees one moment."""

    reader: Reader
    collection: int
    width: int | None

    def search(self, queries: Sequence[SparseQuery]) -> tuple[list[list[Hit]], int]:
        """Return the hits of each query, and how many points have a sparse vector.

        Raises:
            DamagedBlock: a block of postings is damaged.
            NotIndexed: the stored vectors do not all have their postings.
            LimitExceeded, StorageDamaged: as `ScoredHits.of`.
        """
        totals = self.reader.sparse_totals(self.collection)
        if totals is None:
            return [[] for _ in queries], 0
        if totals.indexed < ALL:
            raise NotIndexed
        return [self._hits(query) for query in queries], totals.points

    def _hits(self, query: SparseQuery) -> list[Hit]:
        postings = self.reader.sparse_postings(self.collection, query.weights.ids.tolist())
        found = scores(query.weights, postings)
        return ScoredHits(self.reader, self.collection, self.width).of(query, *found)
