"""Hits with the scores that order them: those of the searches, and those of a reranking model.

Pure functions: the callers search and compute the scores.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from embedder.index.contract.points import Hit
from embedder.index.fusion import Component, Rankings, Weights, reciprocal_rank, weighted_sum

Fusion = Literal["rrf", "weights"]
"""How rankings are fused: by ranks, or by scores that are scaled to 0 to 1."""


@dataclass(frozen=True, slots=True)
class RankedHit:
    """A hit, the ``score`` by which it is ordered, and its place in each ranking.

    ``score`` and the items of ``components`` are None where the last or that ranking lacks the hit.
    """

    hit: Hit
    score: float | None
    components: Mapping[str, Component | None]


def ranked(
    rankings: Rankings,
    fusion: Fusion = "rrf",
    weights: Weights | None = None,
    *,
    top_k: int | None = None,
) -> list[RankedHit]:
    """Return the hits of one ranking in their order, or the first ``top_k`` of several fused.

    Hits of one ranking keep their scores; fused ones have a component ``fused`` too.
    """
    if len(rankings) == 1:
        ((name, hits),) = rankings.items()
        return [
            RankedHit(hit, hit.score, {name: Component(rank, hit.score)})
            for rank, hit in enumerate(hits, 1)
        ]
    fuse = reciprocal_rank if fusion == "rrf" else weighted_sum
    absent: dict[str, Component | None] = dict.fromkeys(rankings)
    return [
        RankedHit(
            one.hit,
            one.hit.score,
            {**absent, **one.components, "fused": Component(rank, one.hit.score)},
        )
        for rank, one in enumerate(fuse(rankings, weights, top_k=top_k), 1)
    ]


def rerank(
    hits: Sequence[RankedHit],
    scores: Sequence[float | None],
    shown: Sequence[float | None] | None = None,
) -> list[RankedHit]:
    """Order hits by new scores, the largest first; ``scores`` has one for each hit.

    ``shown`` are the scores that the hits get, which an activation may have made equal; None: the
    same. Equal scores stay in the order before. Hits without a score follow, in the order before.
    """
    order = sorted((-score, row) for row, score in enumerate(scores) if score is not None)
    ranks = {row: rank for rank, (_, row) in enumerate(order, 1)}
    rows = [*ranks, *(row for row in range(len(hits)) if row not in ranks)]
    shown = scores if shown is None else shown
    return [_rescored(hits[row], shown[row], ranks.get(row, 0)) for row in rows]


def select(
    hits: Sequence[RankedHit], top_k: int, threshold: float | None = None
) -> list[RankedHit]:
    """Return the first ``top_k`` hits; with a ``threshold``, only those with such a score."""
    if threshold is None:
        return list(hits[:top_k])
    return [one for one in hits if one.score is not None and one.score >= threshold][:top_k]


def _rescored(one: RankedHit, score: float | None, rank: int) -> RankedHit:
    place = None if score is None else Component(rank, score)
    return replace(one, score=score, components={**one.components, "rerank": place})
