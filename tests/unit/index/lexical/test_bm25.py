"""BM25 is computed as its formula says, and equal texts get equal scores."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedder.index.contract.texts import TextStatistics, merge_statistics
from embedder.index.lexical.bm25 import idf, scores

WORDS = st.lists(st.sampled_from("abcde"), max_size=12)
TEXTS = st.dictionaries(st.integers(1, 300), WORDS.filter(bool), max_size=12)


def _expected(query: list[str], texts: dict[int, list[str]]) -> dict[int, float]:
    average = sum(map(len, texts.values())) / max(1, len(texts))
    found: dict[int, float] = {}
    for pk, words in texts.items():
        parts = []
        for term in query:
            tf, df = words.count(term), sum(term in one for one in texts.values())
            weight = math.log(1 + (len(texts) - df + 0.5) / (df + 0.5))
            if tf:
                norm = 1.2 * (1 - 0.75 + 0.75 * len(words) / average)
                parts.append(weight * tf / (tf + norm))
        if parts:
            found[pk] = sum(parts)
    return found


def _postings(
    term: str, texts: dict[int, list[str]]
) -> np.ndarray[tuple[int, int], np.dtype[np.int64]]:
    rows = [(pk, words.count(term), len(words)) for pk, words in texts.items() if term in words]
    return np.array(rows, np.int64).reshape(-1, 3)


def _statistics(texts: dict[int, list[str]]) -> TextStatistics:
    frequencies = Counter(term for words in texts.values() for term in set(words))
    return TextStatistics(len(texts), sum(map(len, texts.values())), frequencies)


@given(WORDS, TEXTS)
def test_scores_are_those_of_the_formula(query: list[str], texts: dict[int, list[str]]) -> None:
    postings = {term: _postings(term, texts) for term in query}
    pks, found = scores(query, postings, _statistics(texts))

    assert dict(zip(pks.tolist(), found.tolist(), strict=True)) == pytest.approx(
        _expected(query, texts)
    )
    assert pks.tolist() == sorted(pks.tolist())


@given(WORDS, TEXTS, st.integers(1, 4))
def test_parts_with_common_statistics_give_the_same_scores_to_the_bit(
    query: list[str], texts: dict[int, list[str]], shards: int
) -> None:
    parts = [{pk: one for pk, one in texts.items() if pk % shards == at} for at in range(shards)]
    merged = merge_statistics([_statistics(part) for part in parts])
    whole = scores(query, {term: _postings(term, texts) for term in query}, _statistics(texts))
    split: dict[int, float] = {}
    for part in parts:
        pks, found = scores(query, {term: _postings(term, part) for term in query}, merged)
        split |= dict(zip(pks.tolist(), found.tolist(), strict=True))

    assert split == dict(zip(whole[0].tolist(), whole[1].tolist(), strict=True))


@pytest.mark.parametrize(("documents", "frequency"), [(0, 0), (0, 5), (1, 1), (10, 10), (3, 9)])
def test_no_weight_is_negative(documents: int, frequency: int) -> None:
    assert idf(documents, frequency) > 0


def test_texts_that_were_written_after_the_count_have_finite_scores() -> None:
    postings = {"a": np.array([[1, 1, 4], [2, 4, 4]], np.int64)}
    pks, found = scores(["a"], postings, TextStatistics(0, 0, {}))

    assert pks.tolist() == [1, 2]
    assert 0 < found[0] < found[1]
