"""Searches the texts of one collection by BM25, in the rows of one moment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from embedder.index.collection.postings.scored_hits import NotIndexed, ScoredHits
from embedder.index.contract.points import Hit
from embedder.index.contract.texts import TextQuery, TextStatistics
from embedder.index.lexical.analyzer import terms_of
from embedder.index.lexical.bm25 import scores
from embedder.index.storage.reader import Reader


@dataclass(frozen=True, slots=True)
class TextSearcher:
    """Searches the texts of a collection; ``reader`` sees one moment."""

    reader: Reader
    collection: int
    width: int | None

    def statistics(self, texts: Sequence[str]) -> TextStatistics:
        """Return the statistics of the collection for the terms of these texts.

        Raises:
            NotIndexed: the stored texts are not all indexed yet.
        """
        terms = sorted({term for text in texts for term in terms_of(text)})
        found = self.reader.text_statistics(self.collection, terms)
        if found is None:
            raise NotIndexed
        return found

    def search(self, query: TextQuery) -> list[Hit]:
        """Return the hits of a query.

        Raises:
            DamagedBlock: the index of the texts is damaged.
            NotIndexed: the stored texts are not all indexed yet.
            LimitExceeded, StorageDamaged: as `ScoredHits.of`.
        """
        terms = terms_of(query.text)
        statistics = query.statistics or self.statistics([query.text])
        postings = self.reader.postings(self.collection, sorted(set(terms)))
        found = scores(terms, postings, statistics)
        return ScoredHits(self.reader, self.collection, self.width).of(query, *found)
