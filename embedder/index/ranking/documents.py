"""Limits how many chunks of one document are among the results of a search."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from embedder.index.contract.documents import document_of
from embedder.index.ranking.ranked_hits import RankedHit


def limit_per_document(hits: Iterable[RankedHit], most: int | None) -> Iterator[RankedHit]:
    """Yield hits in order, at most ``most`` of each document; points that are no chunks all pass.

    ``most`` None does not limit them.
    """
    found: Counter[str] = Counter()
    for one in hits:
        document = None if most is None else document_of(one.hit.metadata)
        if document is not None:
            found[document] += 1
        if document is None or most is None or found[document] <= most:
            yield one
