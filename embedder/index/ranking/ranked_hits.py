"""Hits with the scores that order them: those of the searches, and those of a reranking model.

Pure functions: the callers search and compute the scores.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from embedder.index.contract.points import Hit

Component = Literal["dense", "rerank"]
"""A list of hits in which a point may have a score."""


@dataclass(frozen=True, slots=True)
class ComponentScore:
    """The score of a hit in one list, and its rank there, from 1."""

    score: float
    rank: int


@dataclass(frozen=True, slots=True)
class RankedHit:
    """A hit, the ``score`` by which it is ordered, and its score in each list.

    ``score`` and the items of ``components`` are None where the last or that list has no score of
    the hit.
    """

    hit: Hit
    score: float | None
    components: Mapping[Component, ComponentScore | None]


def found_by(component: Component, hits: Iterable[Hit]) -> list[RankedHit]:
    """Return the hits of one search, in their order."""
    return [
        RankedHit(hit, hit.score, {component: ComponentScore(hit.score, rank)})
        for rank, hit in enumerate(hits, 1)
    ]


def rerank(hits: Sequence[RankedHit], scores: Sequence[float | None]) -> list[RankedHit]:
    """Order hits by new scores, the largest first; ``scores`` has one for each hit.

    Equal scores stay in the order before. Hits without a score follow, in the order before.
    """
    order = sorted((-score, row) for row, score in enumerate(scores) if score is not None)
    ranks = {row: rank for rank, (_, row) in enumerate(order, 1)}
    rows = [*ranks, *(row for row in range(len(hits)) if row not in ranks)]
    return [_rescored(hits[row], scores[row], ranks.get(row, 0)) for row in rows]


def select(
    hits: Sequence[RankedHit], top_k: int, threshold: float | None = None
) -> list[RankedHit]:
    """Return the first ``top_k`` hits; with a ``threshold``, only those with such a score."""
    if threshold is None:
        return list(hits[:top_k])
    return [one for one in hits if one.score is not None and one.score >= threshold][:top_k]


def _rescored(one: RankedHit, score: float | None, rank: int) -> RankedHit:
    placed = None if score is None else ComponentScore(score, rank)
    return replace(one, score=score, components={**one.components, "rerank": placed})
