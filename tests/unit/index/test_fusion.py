"""Rankings are fused as the formulas say, in an order that depends on nothing else."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedder.index.contract.limits import MAX_TOP_K
from embedder.index.contract.points import Hit
from embedder.index.fusion import (
    Component,
    FusedHit,
    candidates,
    reciprocal_rank,
    weighted_sum,
)

SCORES = st.integers(-50, 50).map(float)
RANKINGS = st.dictionaries(
    st.sampled_from(["dense", "lexical", "sparse"]),
    st.dictionaries(st.sampled_from("abcdefgh"), SCORES, max_size=6),
    max_size=3,
)
WEIGHTS = st.dictionaries(st.sampled_from(["dense", "lexical"]), st.integers(0, 8).map(float))

Ranked = dict[str, list[Hit]]


def _ranked(scores: dict[str, dict[str, float]]) -> Ranked:
    return {
        name: [Hit(one, score, None, text=name) for one, score in _best_first(found)]
        for name, found in scores.items()
    }


def _best_first(found: dict[str, float]) -> list[tuple[str, float]]:
    return sorted(found.items(), key=lambda item: (-item[1], item[0]))


def _check(fused: list[FusedHit], rankings: Ranked, totals: dict[str, Fraction]) -> None:
    assert {one.hit.id: one.hit.score for one in fused} == pytest.approx(
        {name: float(total) for name, total in totals.items()}
    )
    scores = [(-one.hit.score, one.hit.id) for one in fused]
    assert scores == sorted(scores)
    for one in fused:
        places = {
            name: Component(rank, hit.score)
            for name, hits in rankings.items()
            for rank, hit in enumerate(hits, 1)
            if hit.id == one.hit.id
        }
        assert one.components == places
        assert one.hit.text == next(iter(places))


@given(RANKINGS, WEIGHTS, st.integers(0, 100))
def test_reciprocal_ranks_are_summed(
    scores: dict[str, dict[str, float]], weights: dict[str, float], k: int
) -> None:
    rankings = _ranked(scores)
    totals: dict[str, Fraction] = {}
    for name, hits in rankings.items():
        for hit in hits:
            rank = 1 + sum(_is_before(other, hit) for other in hits)
            share = Fraction(weights.get(name, 1.0)) / (k + rank)
            totals[hit.id] = totals.get(hit.id, Fraction(0)) + share

    _check(reciprocal_rank(rankings, weights, k), rankings, totals)


@given(RANKINGS, WEIGHTS)
def test_scaled_scores_are_summed(
    scores: dict[str, dict[str, float]], weights: dict[str, float]
) -> None:
    rankings = _ranked(scores)
    totals: dict[str, Fraction] = {}
    for name, found in scores.items():
        for one, score in found.items():
            least, most = min(found.values()), max(found.values())
            scaled = Fraction(score - least) / Fraction(most - least) if most > least else 1
            share = Fraction(weights.get(name, 1.0)) * scaled
            totals[one] = totals.get(one, Fraction(0)) + share

    _check(weighted_sum(rankings, weights), rankings, totals)


def _is_before(one: Hit, other: Hit) -> bool:
    return (-one.score, one.id) < (-other.score, other.id)


def test_the_constant_is_that_of_the_paper() -> None:
    (fused,) = reciprocal_rank({"dense": [Hit("a", 0.5, -0.5)]})

    assert fused.hit == Hit("a", 1 / 61, None)


@pytest.mark.parametrize(
    ("top_k", "most"), [(1, 100), (25, 100), (26, 104), (250, 1000), (1000, MAX_TOP_K)]
)
def test_more_hits_are_fused_than_wanted(top_k: int, most: int) -> None:
    assert candidates(top_k) == most
