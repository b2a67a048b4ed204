"""The bodies of searches, and of their responses."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from deployments.ingress.collections.bodies import MAX_INCLUDED, FilterBody, Point, ReadBody
from deployments.ingress.wire.fields import Body, examples
from deployments.ingress.wire.inputs import VectorField
from embedder.index.contract.limits import MAX_TOP_K
from embedder.index.ranking.ranked_hits import Fusion

HitField = Literal["vector", "text", "metadata", "scores"]
"""A field of a hit that a response may include."""

MAX_WEIGHT = 1000.0
"""The largest weight of a ranking."""

RerankMethod = Literal["cross-encoder", "multi-vector"]
"""How a model compares a query with the text of a point."""


class RerankBody(Body):
    """How the hits of a search are ordered again, by a model that reads their texts."""

    model: str | None = Field(
        None, description="a served model that can do that; default: the first one"
    )
    candidates: int | None = Field(
        None,
        ge=1,
        le=MAX_TOP_K,
        strict=True,
        description="hits of the search that the model reads, at least top_k; default: 4 times "
        "top_k, 50 to 1,000",
    )
    method: RerankMethod = Field(
        "cross-encoder",
        description="cross-encoder: reads the query and a text together; multi-vector: MaxSim of "
        "the token vectors of both",
    )


class WeightsBody(Body):
    """The weight of each ranking; of weight 0, it is not computed."""

    dense: float = Field(1.0, ge=0, le=MAX_WEIGHT, description="of the ranking by vectors")
    lexical: float = Field(1.0, ge=0, le=MAX_WEIGHT, description="of the ranking by words (BM25)")
    sparse: float = Field(
        0.0,
        ge=0,
        le=MAX_WEIGHT,
        description="of the ranking by sparse weights, which the model of the collection must "
        "compute",
    )


class HybridBody(Body):
    """How a text is searched by its vector, words and weights, and the rankings are fused."""

    fusion: Fusion = Field(
        "rrf",
        description="rrf: by ranks, the sum of weight / (60 + rank); weights: by scores, each "
        "ranking scaled to 0 to 1",
    )
    weights: WeightsBody = Field(default_factory=WeightsBody)
    candidates: int | None = Field(
        None,
        ge=1,
        le=MAX_TOP_K,
        strict=True,
        description="hits of each ranking, at least top_k; default: 4 times top_k, 100 to 1,000",
    )


class QueryBody(FilterBody):
    """One query: a text, a vector, or the id of a point whose neighbours are searched.

    Beside ``hybrid`` and ``rerank``, a text may stand beside a vector: this is then compared with
    those of points, in place of the vector of the text.
    """

    text: str | None = None
    vector: VectorField = None
    id: str | None = None
    top_k: int = Field(10, ge=1, le=MAX_TOP_K, strict=True)
    score_threshold: float | None = Field(
        None, allow_inf_nan=False, description="leave out points with a lower score"
    )
    diversity: float | None = Field(
        None,
        ge=0,
        le=1,
        description="weight of the diversity of results (maximal marginal relevance); 0: plain "
        "search",
    )
    per_document: int | None = Field(
        None,
        ge=1,
        strict=True,
        description="the most results of one text that was stored with chunking",
    )
    hybrid: HybridBody | None = Field(
        None,
        description="search by the words of the text, or by its sparse weights, too, and fuse the "
        "rankings",
    )
    rerank: RerankBody | None = Field(
        None, description="order the hits again by a model that reads the query and their texts"
    )
    include: list[HitField] = Field(
        default_factory=list,
        max_length=MAX_INCLUDED,
        fail_fast=True,
        description="fields of each hit to return beside its id and score; scores: the "
        "rank and the score in each ranking",
    )


class SearchBody(QueryBody, ReadBody):
    """The body of ``POST …/search``: one query, or several under ``queries``."""

    model_config = examples(
        {"text": "greeting", "top_k": 3},
        {"text": "greeting", "filter": {"lang": "en"}, "include": ["metadata"]},
        {"text": "greeting", "diversity": 0.5},
        {"text": "greeting", "per_document": 1},
        {"text": "greeting", "hybrid": {"fusion": "weights", "weights": {"lexical": 0.5}}},
        {"text": "greeting", "hybrid": {"weights": {"sparse": 1}}},
        {"text": "greeting", "rerank": {"candidates": 100}, "include": ["text", "scores"]},
        {"queries": [{"text": "greeting"}, {"id": "a", "top_k": 3}]},
    )

    queries: list[QueryBody] | None = Field(None, fail_fast=True)
    model: str | None = None
    complete: bool = Field(
        False,
        strict=True,
        description="fail if a shard does not answer, instead of leaving out its points",
    )


class RankAnswer(BaseModel):
    """The place of a hit in one ranking: its rank, from 1, and its score."""

    rank: int
    score: float


class Scores(BaseModel):
    """The place of a hit in each ranking of its query; null: that ranking lacks it."""

    dense: RankAnswer | None = Field(None, description="by vectors")
    lexical: RankAnswer | None = Field(None, description="by words")
    sparse: RankAnswer | None = Field(None, description="by sparse weights")
    fused: RankAnswer | None = Field(None, description="of all these")
    rerank: RankAnswer | None = Field(None, description="by the model that reads the texts")


class Result(Point):
    """A point that was found; a larger ``score`` is nearer."""

    score: float | None = Field(description="null: reranked, but the point has no text")
    distance: float | None = None
    scores: Scores | None = None


class SearchAnswer(BaseModel):
    """The results of one query, or a list of results for ``queries``.

    If shards did not answer, ``partial`` is true and ``missing`` names them.
    """

    results: list[Result] | list[list[Result]]
    partial: bool
    missing: list[str] = Field(default_factory=list)
