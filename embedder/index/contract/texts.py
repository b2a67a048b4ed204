"""The records of a search for words in stored texts: queries, and statistics of a collection."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from embedder.core.errors import InvalidInput, LimitExceeded
from embedder.core.utf8 import encode
from embedder.index.contract.filters import Filter
from embedder.index.contract.limits import MAX_QUERY_CHARACTERS, MAX_TOP_K
from embedder.index.contract.points import PAYLOAD, Consistency, PointField


@dataclass(frozen=True, slots=True)
class TextStatistics:
    """What BM25 needs to know of all texts of a collection, or of the part of it in a shard.

    ``documents`` are the points whose text has a term, ``terms`` is how many terms these have
    together, and ``frequencies`` has for each term of the queries the number of documents with it.
    """

    documents: int
    terms: int
    frequencies: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class TextQuery:
    """A search for the ``top_k`` points whose texts have terms of ``text``, the best by BM25.

    Points without a term of the query are no hits, and neither are points with a score below
    ``threshold`` or outside ``filter``. ``statistics`` are those of all shards; None stands for
    those of the searched shard alone. ``field`` is the name of the text in errors. The other fields
    are as in `Query`.
    """

    collection: str
    text: str
    top_k: int
    field: str = "text"
    filter: Filter | None = None
    threshold: float | None = None
    include: tuple[PointField, ...] = PAYLOAD
    max_bytes: int | None = None
    identity: str | None = None
    consistency: Consistency = "latest"
    statistics: TextStatistics | None = None


def merge_statistics(parts: Sequence[TextStatistics]) -> TextStatistics:
    """Return the statistics of a collection, given those of its shards."""
    frequencies: Counter[str] = Counter()
    for part in parts:
        frequencies.update(part.frequencies)
    documents, terms = sum(one.documents for one in parts), sum(one.terms for one in parts)
    return TextStatistics(documents, terms, frequencies)


def check_wanted(top_k: int, threshold: float | None) -> None:
    """Refuse numbers that say which hits of a ranking are wanted.

    Raises:
        InvalidInput: ``top_k`` is not 1 to `MAX_TOP_K`, or the threshold is not finite.
    """
    if not 1 <= top_k <= MAX_TOP_K:
        raise InvalidInput("top_k", f"is {top_k}; it must be 1 to {MAX_TOP_K}")
    if threshold is not None and not math.isfinite(threshold):
        raise InvalidInput("threshold", "must be a finite number")


def check_text_query(query: TextQuery) -> None:
    """Refuse a query with a text or a number that no search can answer.

    Raises:
        InvalidInput: as `check_wanted`; or the text has a lone surrogate, or more than
            `MAX_QUERY_CHARACTERS`.
    """
    check_wanted(query.top_k, query.threshold)
    if len(query.text) > MAX_QUERY_CHARACTERS:
        raise LimitExceeded(query.field, "characters", len(query.text), MAX_QUERY_CHARACTERS)
    encode(query.field, query.text)
