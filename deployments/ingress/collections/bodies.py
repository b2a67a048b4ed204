"""What clients send to a collection, and what they get: the shapes, nothing of what they do."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from deployments.ingress.wire.fields import Body
from deployments.ingress.wire.inputs import VectorField
from embedder.index.limits import MAX_TOP_K
from embedder.index.points import Metric


class CollectionBody(Body):
    """The body of ``PUT /v1/collections/{name}``."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"metric": "cosine"}]})

    metric: Metric = Metric.COSINE
    index: Literal["auto", "flat"] = "auto"
    model: str | None = None


class PointBody(Body):
    """One point: an id, and a text or a vector."""

    id: str
    text: str | None = None
    vector: VectorField = None
    metadata: dict[str, Any] = Field(default_factory=dict)


class UpsertBody(Body):
    """The body of ``POST …/points``; no id may be given twice."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"points": [{"id": "a", "text": "hello world"}]}]}
    )

    points: list[PointBody] = Field(min_length=1)
    model: str | None = None


class QueryBody(Body):
    """One query: a text or a vector."""

    text: str | None = None
    vector: VectorField = None
    top_k: int = Field(10, ge=1, le=MAX_TOP_K, strict=True)
    include: list[Literal["text", "metadata"]] = Field(default_factory=list)


class SearchBody(QueryBody):
    """The body of ``POST …/search``: one query, or several under ``queries``."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"text": "greeting", "top_k": 3}]})

    queries: list[QueryBody] | None = None
    model: str | None = None


class CollectionAnswer(BaseModel):
    """What is known of a collection; ``width`` is null until it holds a vector."""

    name: str
    metric: Metric
    index: str
    width: int | None
    count: int
    sequence: int


class UpsertAnswer(BaseModel):
    """How many points were set, and the collection's sequence number after that."""

    upserted: int
    sequence: int


class Result(BaseModel):
    """A point that was found; ``score`` is larger for nearer."""

    id: str
    score: float
    distance: float | None = None
    text: str | None = None
    metadata: dict[str, Any] | None = None


class SearchAnswer(BaseModel):
    """The results of one query, or a list of them for ``queries``."""

    results: list[Result] | list[list[Result]]
    partial: bool
