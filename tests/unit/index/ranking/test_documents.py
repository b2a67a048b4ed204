"""Results have a limited number of chunks of one document."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedder.index.contract.points import Hit
from embedder.index.ranking.documents import limit_per_document
from embedder.index.ranking.ranked_hits import RankedHit, ranked


def hits_of(documents: list[str | None]) -> list[RankedHit]:
    """Return a hit for each document, or for a point that is no chunk."""
    hits = [
        Hit(str(at), -float(at), None, metadata={} if one is None else _chunk(one))
        for at, one in enumerate(documents)
    ]
    return ranked({"dense": hits})


def _chunk(document: str) -> dict[str, object]:
    return {"chunk": {"document": document}}


@given(st.lists(st.sampled_from(["a", "b", None]), max_size=12), st.integers(1, 3))
def test_the_first_hits_of_each_document_stay_in_order(
    documents: list[str | None], most: int
) -> None:
    rows, seen = [], Counter[str | None]()
    for row, document in enumerate(documents):
        seen[document] += 1
        if document is None or seen[document] <= most:
            rows.append(str(row))

    assert [one.hit.id for one in limit_per_document(hits_of(documents), most)] == rows


@pytest.mark.parametrize("documents", [[], ["a", "a", None, "a"]])
def test_without_a_limit_all_hits_stay(documents: list[str | None]) -> None:
    hits = hits_of(documents)

    assert list(limit_per_document(hits, None)) == hits
