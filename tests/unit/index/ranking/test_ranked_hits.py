"""The order of hits by the scores of a model that has read some of them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedder.index.contract.points import Hit
from embedder.index.fusion import Component
from embedder.index.ranking.ranked_hits import Fusion, ranked, rerank, select

SCORES = st.lists(st.none() | st.sampled_from([-1.5, -0.0, 0.0, 0.5, 2.0]), max_size=12)


def hits_of(scores: list[float | None]) -> list[Hit]:
    """Return a hit for each score, the nearest first."""
    return [Hit(f"p{row}", -float(row), None) for row in range(len(scores))]


def expected_order(scores: list[float | None]) -> list[int]:
    """Return the rows by repeated search for the largest score; those without one follow."""
    left, order = list(range(len(scores))), list[int]()
    while any(scores[row] is not None for row in left):
        best = max(score for row in left if (score := scores[row]) is not None)
        order.append(next(row for row in left if scores[row] == best))
        left.remove(order[-1])
    return order + left


@given(SCORES)
def test_hits_are_ordered_by_score_and_those_without_one_come_last(
    scores: list[float | None],
) -> None:
    found = rerank(ranked({"dense": hits_of(scores)}), scores)

    assert [one.hit.id for one in found] == [f"p{row}" for row in expected_order(scores)]
    for rank, one in enumerate(found, 1):
        row = int(one.hit.id[1:])
        expected = None if one.score is None else Component(rank, one.score)
        assert one.score == scores[row]
        assert one.components == {"dense": Component(row + 1, -row), "rerank": expected}


@given(SCORES, st.integers(1, 13), st.none() | st.sampled_from([-2.0, 0.0, 0.5, 3.0]))
def test_the_threshold_is_that_of_the_last_scores(
    scores: list[float | None], top_k: int, threshold: float | None
) -> None:
    hits = rerank(ranked({"dense": hits_of(scores)}), scores)
    kept = [
        one
        for one in hits
        if threshold is None or (one.score is not None and one.score >= threshold)
    ]

    assert select(hits, top_k, threshold) == kept[:top_k]


def test_one_ranking_keeps_its_scores_and_several_are_fused() -> None:
    first, second = Hit("a", 0.9, None), Hit("b", 0.5, None)
    alone = ranked({"lexical": [first, second]})
    (fused, last) = ranked({"dense": [first], "lexical": [second, first]}, "weights")

    assert [(one.hit, one.score) for one in alone] == [(first, 0.9), (second, 0.5)]
    assert alone[1].components == {"lexical": Component(2, 0.5)}
    assert fused.components == {
        "dense": Component(1, 0.9),
        "lexical": Component(2, 0.9),
        "fused": Component(1, fused.score or 0),
    }
    assert last.components["dense"] is None


@pytest.mark.parametrize("fusion", ["rrf", "weights"])
@pytest.mark.parametrize("top_k", [1, 4, 5, 6])
def test_the_first_fused_hits_are_those_of_all(fusion: Fusion, top_k: int) -> None:
    dense, lexical = (hits_of([None] * 4), [Hit("p2", 7.0, None), Hit("w", 6.0, None)])
    rankings = {"dense": dense, "lexical": lexical}

    assert ranked(rankings, fusion, top_k=top_k) == ranked(rankings, fusion)[:top_k]


def test_ranks_are_fused_unless_weights_are_asked_for() -> None:
    rankings = {"dense": [Hit("a", 0.9, None)], "lexical": [Hit("b", 7.0, None)]}

    assert [one.score for one in ranked(rankings)] == [1 / 61, 1 / 61]
    assert [one.score for one in ranked(rankings, "weights", {"lexical": 2})] == [2, 1]
    assert [one.hit.id for one in ranked(rankings, "rrf", {"lexical": 2})] == ["b", "a"]


def test_scores_that_are_shown_as_equal_stay_ordered() -> None:
    hits = ranked({"dense": hits_of([None] * 3)})
    found = rerank(hits, [20.0, None, 30.0], [1.0, None, 1.0])

    assert [(one.hit.id, one.score) for one in found] == [("p2", 1.0), ("p0", 1.0), ("p1", None)]
    assert [one.components["rerank"] for one in found[:2]] == [Component(1, 1.0), Component(2, 1.0)]
