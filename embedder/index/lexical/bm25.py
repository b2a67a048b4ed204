"""Scores texts by BM25.

The score of a text for a query is the sum over the terms t of the query, each as often as the query
has it, of

    idf(t) * tf / (tf + k1 * (1 - b + b * length / average length))
    idf(t) = ln(1 + (N - df(t) + 0.5) / (df(t) + 0.5))

where tf is how often the text has t, df(t) is the number of the N texts with t, and the length of
a text is the number of its terms (Robertson and Zaragoza, "The Probabilistic Relevance Framework:
BM25 and Beyond", 2009). The idf is that of Lucene, which is never negative; as in Lucene since
version 8, the constant factor k1 + 1 is left out. N, df and the average length are those of the
whole collection, over all shards, so that a text has the same score in any number of shards.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from embedder.index.contract.texts import TextStatistics
from embedder.index.lexical.blocks import Postings

K1 = 1.2
B = 0.75


def scores(
    terms: Sequence[str], postings: Mapping[str, Postings], statistics: TextStatistics
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the pks int64[n] of the texts with one of the terms, ascending, and their scores.

    The terms of the query are added in alphabetical order, so that equal texts get equal scores to
    the last bit.
    """
    counts = Counter(terms)
    found = {term: postings[term] for term in sorted(counts) if len(postings[term])}
    if not found:
        return np.empty(0, np.int64), np.empty(0)
    pks = np.unique(np.concatenate([rows[:, 0] for rows in found.values()]))
    total = np.zeros(len(pks))
    # Both may be 0: texts that were written after the count are found too.
    average = max(1, statistics.terms) / max(1, statistics.documents)
    for term, rows in found.items():
        weight = counts[term] * idf(statistics.documents, statistics.frequencies.get(term, 0))
        tf, length = rows[:, 1].astype(np.float64), rows[:, 2].astype(np.float64)
        part = weight * tf / (tf + K1 * (1 - B + B * length / average))
        total[np.searchsorted(pks, rows[:, 0])] += part
    return pks, total


def idf(documents: int, frequency: int) -> float:
    """Return the weight of a term that ``frequency`` of the documents have."""
    # Writes between the count and the search can make the count too small, but never negative.
    return math.log(1 + (max(0, documents - frequency) + 0.5) / (frequency + 0.5))
