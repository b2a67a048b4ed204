"""Fuses several rankings of the same points, for example by vectors and by words, into one.

Pure functions. A ranking is a list of hits, the best first, and has a name. A point that a ranking
lacks gets nothing from it. Points with equal scores are in the order of their ids.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from embedder.index.contract.limits import MAX_TOP_K
from embedder.index.contract.points import Hit

RANK_CONSTANT = 60
"""The constant k of reciprocal rank fusion."""

CANDIDATES = 100
PER_HIT = 4
"""Each ranking has so many hits, and as many for each wanted one, before they are fused."""

Rankings = Mapping[str, Sequence[Hit]]
Weights = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Component:
    """The place of a hit in one ranking: its rank, 1 for the best, and its score there."""

    rank: int
    score: float


@dataclass(frozen=True, slots=True)
class FusedHit:
    """A hit whose score is the fused one, and its components by the names of the rankings.

    The other fields are those of the hit in the first ranking that has it.
    """

    hit: Hit
    components: Mapping[str, Component]


def candidates(top_k: int) -> int:
    """Return how many hits each ranking should have, if ``top_k`` fused ones are wanted."""
    return min(MAX_TOP_K, max(CANDIDATES, PER_HIT * top_k))


def reciprocal_rank(
    rankings: Rankings,
    weights: Weights | None = None,
    k: int = RANK_CONSTANT,
    *,
    top_k: int | None = None,
) -> list[FusedHit]:
    """Fuse by ranks: the score is the sum of weight / (k + rank) over the rankings.

    The weight of a ranking is 1 unless ``weights`` has its name. Only ranks count, so that the
    scores of the rankings need no common scale (Cormack, Clarke and Büttcher, "Reciprocal Rank
    Fusion outperforms Condorcet and individual Rank Learning Methods", 2009). ``top_k`` None
    returns the points of all rankings.
    """

    def contributions(hits: Sequence[Hit]) -> list[float]:
        return [1 / (k + rank) for rank in range(1, len(hits) + 1)]

    return _fused(rankings, weights or {}, contributions, top_k)


def weighted_sum(
    rankings: Rankings, weights: Weights | None = None, *, top_k: int | None = None
) -> list[FusedHit]:
    """Fuse by scores: the score is the sum of weight * normalized score over the rankings.

    The scores of each ranking are scaled so that its best hit has 1 and its last one 0; hits that
    all have one score get 1. ``weights`` and ``top_k`` are as for `reciprocal_rank`.
    """
    return _fused(rankings, weights or {}, _scaled, top_k)


def _scaled(hits: Sequence[Hit]) -> list[float]:
    scores = [hit.score for hit in hits]
    least, most = min(scores, default=0.0), max(scores, default=0.0)
    if least == most:
        return [1.0] * len(scores)
    return [(score - least) / (most - least) for score in scores]


def _fused(
    rankings: Rankings,
    weights: Weights,
    contributions: Callable[[Sequence[Hit]], list[float]],
    top_k: int | None,
) -> list[FusedHit]:
    totals: dict[str, float] = {}
    for name, ranking in rankings.items():
        weight = weights.get(name, 1.0)
        for hit, value in zip(ranking, contributions(ranking), strict=True):
            totals[hit.id] = totals.get(hit.id, 0.0) + weight * value
    order = sorted(totals, key=lambda one: (-totals[one], one))[:top_k]
    # Only for the hits that are returned: making records of all takes most of the time.
    hits: dict[str, Hit] = {}
    components: dict[str, dict[str, Component]] = {one: {} for one in order}
    for name, ranking in rankings.items():
        for rank, hit in enumerate(ranking, 1):
            if hit.id in components:
                hits.setdefault(hit.id, hit)
                components[hit.id][name] = Component(rank, hit.score)
    return [
        FusedHit(replace(hits[one], score=totals[one], distance=None), components[one])
        for one in order
    ]
