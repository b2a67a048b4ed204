"""Collections over HTTP: create, describe, fill and search them, by text or by vector.

Texts are embedded in the same request. Knows nothing of how vectors are kept or found.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from deployments.ingress.body import OrjsonRoute, json_response
from deployments.ingress.inputs import VectorField, to_vector
from deployments.ingress.service import Service
from deployments.ingress.state import service_of
from embedder.errors import InvalidInput, InvalidVector, LimitExceeded
from embedder.index.points import MAX_TOP_K, CollectionInfo, Hit, Metric, Points, Query
from embedder.request import EmbedOptions
from embedder.types import Priority, Vectors

router = APIRouter(prefix="/v1/collections", route_class=OrjsonRoute, tags=["collections"])


class Body(BaseModel):
    """Base of the bodies here: unknown fields are refused."""

    model_config = ConfigDict(extra="forbid")


class CollectionBody(Body):
    """The body of ``PUT /v1/collections/{name}``."""

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
    """The body of ``POST …/points``; of points with the same id the last wins."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"points": [{"id": "a", "text": "hello world"}]}]}
    )

    points: list[PointBody] = Field(min_length=1)
    model: str | None = None


class QueryBody(Body):
    """One query: a text or a vector."""

    text: str | None = None
    vector: VectorField = None
    top_k: int = Field(10, ge=1, le=MAX_TOP_K)
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


ServiceHere = Annotated[Service, Depends(service_of)]


@router.get("")
async def list_collections(service: ServiceHere) -> dict[str, list[CollectionAnswer]]:
    """List all collections."""
    infos = await service.index.collections(service.deadline())
    return {"collections": [_answer(info) for info in infos]}


@router.put("/{name}")
async def create_collection(
    name: str, body: CollectionBody, service: ServiceHere
) -> CollectionAnswer:
    """Create a collection; one that exists with the same metric is left as it is."""
    await service.model(body.model)
    return _answer(await service.index.create(name, body.metric, service.deadline()))


@router.get("/{name}")
async def describe_collection(name: str, service: ServiceHere) -> CollectionAnswer:
    """Describe a collection."""
    return _answer(await service.index.describe(name, service.deadline()))


@router.delete("/{name}", status_code=204)
async def delete_collection(name: str, service: ServiceHere) -> None:
    """Delete a collection with all its points."""
    await service.index.delete(name, service.deadline())


@router.post("/{name}/points")
async def upsert_points(name: str, body: UpsertBody, service: ServiceHere) -> UpsertAnswer:
    """Set points by id; a collection that does not exist is created with the cosine."""
    deadline = service.deadline()
    _check_count("points", len(body.points), service.settings.limits.max_points)
    names = [f"points[{row}]" for row in range(len(body.points))]
    vectors = await _vectors(service, body.points, names, body.model, Priority.BULK)
    points = Points(
        ids=[point.id for point in body.points],
        vectors=vectors,
        texts=[point.text for point in body.points],
        metadata=[point.metadata for point in body.points],
    )
    sequence = await service.index.upsert(name, points, deadline)
    return UpsertAnswer(upserted=len(set(points.ids)), sequence=sequence)


@router.post("/{name}/search", response_model=SearchAnswer)
async def search(name: str, body: SearchBody, service: ServiceHere) -> Response:
    """Find the nearest points of one query or of several."""
    deadline = service.deadline()
    queries: Sequence[QueryBody] = [body] if body.queries is None else body.queries
    _check_count("queries", len(queries), service.settings.limits.max_queries)
    names = [""] if body.queries is None else [f"queries[{row}]" for row in range(len(queries))]
    if body.queries is not None and (body.text is not None or body.vector is not None):
        raise InvalidInput("queries", "cannot stand beside a text or a vector")
    vectors = await _vectors(service, queries, names, body.model, Priority.INTERACTIVE)
    answers = await service.index.search(
        [Query(name, vector, query.top_k) for query, vector in zip(queries, vectors, strict=True)],
        deadline,
    )
    results = [
        [_result(hit, query.include) for hit in hits]
        for query, hits in zip(queries, answers, strict=True)
    ]
    return json_response(
        {"results": results[0] if body.queries is None else results, "partial": False}
    )


async def _vectors(
    service: Service,
    items: Sequence[PointBody | QueryBody],
    names: Sequence[str],
    model: str | None,
    priority: Priority,
) -> Vectors:
    """Return a row for every item, embedding those that bring a text."""
    rows: dict[int, Vectors] = {}
    texts: dict[int, str] = {}
    for row, (item, name) in enumerate(zip(items, names, strict=True)):
        if item.vector is not None:
            rows[row] = to_vector(item.vector, f"{name}.vector".lstrip("."))
        elif item.text is not None:
            texts[row] = item.text
        else:
            raise InvalidInput(name or "text", "must have a text or a vector")
    if texts:
        answer = await service.embed(
            list(texts.values()), EmbedOptions(priority=priority), model=model
        )
        rows.update(zip(texts, answer.vectors, strict=True))
    width = len(rows[0])
    for row, name in enumerate(names):
        if len(rows[row]) != width:
            raise InvalidVector(
                f"{name}.vector", f"has {len(rows[row])} components; {names[0]} has {width}"
            )
    return np.stack([rows[row] for row in range(len(items))])


def _check_count(field: str, count: int, limit: int) -> None:
    if count == 0:
        raise InvalidInput(field, "must not be empty")
    if count > limit:
        raise LimitExceeded(field, "items", count, limit)


def _answer(info: CollectionInfo) -> CollectionAnswer:
    fields = asdict(info)
    return CollectionAnswer(index=fields.pop("kind"), **fields)


def _result(hit: Hit, include: Sequence[str]) -> dict[str, Any]:
    result: dict[str, Any] = {"id": hit.id, "score": hit.score}
    if hit.distance is not None:
        result["distance"] = hit.distance
    if "text" in include:
        result["text"] = hit.text
    if "metadata" in include:
        result["metadata"] = hit.metadata
    return result
