"""What a search by words must find, computed from all texts at once."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping

from embedder.index.lexical.analyzer import terms_of
from embedder.index.storage.reader import Reader


def best(texts: Mapping[str, str | None], query: str) -> list[tuple[str, float]]:
    """Return the ids of all texts with a term of the query and their scores, the best first."""
    counts = {name: Counter(terms_of(text or "")) for name, text in texts.items()}
    counts = {name: found for name, found in counts.items() if found}
    average = sum(found.total() for found in counts.values()) / max(1, len(counts))
    scores: dict[str, float] = {}
    for term, times in sorted(Counter(terms_of(query)).items()):
        df = sum(term in found for found in counts.values())
        weight = times * math.log(1 + (len(counts) - df + 0.5) / (df + 0.5))
        for name, found in counts.items():
            if term in found:
                norm = 1.2 * (1 - 0.75 + 0.75 * found.total() / average)
                score = weight * found[term] / (found[term] + norm)
                scores[name] = scores.get(name, 0.0) + score
    return sorted(scores.items(), key=lambda item: (-item[1], item[0]))


def check_index(reader: Reader, collection: int, texts: Mapping[int, str | None]) -> None:
    """Compare the index of the texts of a collection, by pk, with the texts themselves."""
    counts = {pk: Counter(terms_of(text)) for pk, text in texts.items() if text is not None}
    counts = {pk: found for pk, found in counts.items() if found}
    terms = sorted({term for found in counts.values() for term in found} | {"absent"})
    statistics = reader.text_statistics(collection, terms)
    postings = reader.postings(collection, terms)

    assert statistics is not None
    assert statistics.documents == len(counts)
    assert statistics.terms == sum(found.total() for found in counts.values())
    for term in terms:
        expected = sorted(
            [pk, found[term], found.total()] for pk, found in counts.items() if term in found
        )
        assert sorted(postings[term].tolist()) == expected
        assert statistics.frequencies[term] == len(expected)
