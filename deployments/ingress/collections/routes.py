"""Collections over HTTP: create, describe, fill and search them, by text or by vector.

Texts are embedded in the same request. Knows nothing of how vectors are kept or found.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from fastapi import APIRouter
from starlette.responses import Response

from deployments.ingress.collections.bodies import (
    CollectionAnswer,
    CollectionBody,
    PointBody,
    QueryBody,
    SearchAnswer,
    SearchBody,
    UpsertAnswer,
    UpsertBody,
)
from deployments.ingress.door.visit import Visit
from deployments.ingress.service import Service
from deployments.ingress.state import ServiceHere, VisitHere
from deployments.ingress.wire.inputs import to_vector
from deployments.ingress.wire.json_bodies import OrjsonRoute, json_response
from deployments.ingress.wire.naming import calling
from embedder.errors import InvalidInput, InvalidVector, LimitExceeded
from embedder.index.points import CollectionInfo, Hit, Points, Query
from embedder.request import EmbedOptions
from embedder.types import Priority, Vectors

reading = APIRouter(prefix="/v1/collections", route_class=OrjsonRoute, tags=["collections"])
writing = APIRouter(prefix="/v1/collections", route_class=OrjsonRoute, tags=["collections"])


@reading.get("")
async def list_collections(
    service: ServiceHere, visit: VisitHere
) -> dict[str, list[CollectionAnswer]]:
    """List all collections."""
    infos = await service.index.collections(visit.deadline)
    return {"collections": [_answer(info) for info in infos]}


@writing.put("/{name}")
async def create_collection(
    name: str, body: CollectionBody, service: ServiceHere, visit: VisitHere
) -> CollectionAnswer:
    """Create a collection; one that exists with the same metric is left as it is."""
    service.check_model(body.model)
    return _answer(await service.index.create(name, body.metric, visit.deadline))


@reading.get("/{name}")
async def describe_collection(
    name: str, service: ServiceHere, visit: VisitHere
) -> CollectionAnswer:
    """Describe a collection."""
    return _answer(await service.index.describe(name, visit.deadline))


@writing.delete("/{name}", status_code=204)
async def delete_collection(name: str, service: ServiceHere, visit: VisitHere) -> None:
    """Delete a collection with all its points."""
    await service.index.delete(name, visit.deadline)


@writing.post("/{name}/points")
async def upsert_points(
    name: str, body: UpsertBody, service: ServiceHere, visit: VisitHere
) -> UpsertAnswer:
    """Set points by id; a collection that does not exist is created with the cosine."""
    _check_count("points", len(body.points), service.settings.limits.max_points)
    names = [f"points[{row}]" for row in range(len(body.points))]
    vectors = await _vectors(service, visit, body.points, names, body.model, Priority.BULK)
    points = Points(
        ids=[point.id for point in body.points],
        vectors=vectors,
        texts=[point.text for point in body.points],
        metadata=[point.metadata for point in body.points],
    )
    sequence = await service.index.upsert(name, points, visit.deadline)
    return UpsertAnswer(upserted=len(set(points.ids)), sequence=sequence)


@reading.post("/{name}/search", response_model=SearchAnswer)
async def search(name: str, body: SearchBody, service: ServiceHere, visit: VisitHere) -> Response:
    """Find the nearest points of one query or of several."""
    queries: Sequence[QueryBody] = [body] if body.queries is None else body.queries
    _check_count("queries", len(queries), service.settings.limits.max_queries)
    names = [""] if body.queries is None else [f"queries[{row}]" for row in range(len(queries))]
    beside = QueryBody.model_fields.keys() & body.model_fields_set
    if body.queries is not None and beside:
        raise InvalidInput("queries", f"cannot stand beside {sorted(beside)}: put these into each")
    vectors = await _vectors(service, visit, queries, names, body.model, Priority.INTERACTIVE)
    answers = await service.index.search(
        [
            Query(name, vector, query.top_k, _path(prefix, "vector"))
            for query, vector, prefix in zip(queries, vectors, names, strict=True)
        ],
        visit.deadline,
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
    visit: Visit,
    items: Sequence[PointBody | QueryBody],
    names: Sequence[str],
    model: str | None,
    priority: Priority,
) -> Vectors:
    """Return a row for every item: its vector where it brings one, else that of its text."""
    service.check_model(model)
    rows: dict[int, Vectors] = {}
    texts: dict[int, str] = {}
    for row, (item, name) in enumerate(zip(items, names, strict=True)):
        if item.vector is not None:
            rows[row] = to_vector(item.vector, _path(name, "vector"))
        elif item.text is not None:
            texts[row] = item.text
        else:
            raise InvalidInput(name or "text", "must have a text or a vector")
    if texts:
        fields = [_path(names[row], "text") for row in texts]
        options = EmbedOptions(priority=priority, timeout_s=visit.remaining_s())
        with calling("input", fields.__getitem__):
            answer = await service.embed(list(texts.values()), options, model=model)
        rows.update(zip(texts, answer.vectors, strict=True))
    width = len(rows[0])
    for row, name in enumerate(names):
        if len(rows[row]) != width:
            raise InvalidVector(
                _path(name, "vector"), f"has {len(rows[row])} components; {names[0]} has {width}"
            )
    return np.stack([rows[row] for row in range(len(items))])


def _path(prefix: str, field: str) -> str:
    return f"{prefix}.{field}" if prefix else field


def _check_count(field: str, count: int, limit: int) -> None:
    if count == 0:
        raise InvalidInput(field, "must not be empty")
    if count > limit:
        raise LimitExceeded(field, "items", count, limit)


def _answer(info: CollectionInfo) -> CollectionAnswer:
    fields = asdict(info)
    return CollectionAnswer(index=info.serving, **fields)


def _result(hit: Hit, include: Sequence[str]) -> dict[str, Any]:
    result: dict[str, Any] = {"id": hit.id, "score": hit.score}
    if hit.distance is not None:
        result["distance"] = hit.distance
    if "text" in include:
        result["text"] = hit.text
    if "metadata" in include:
        result["metadata"] = hit.metadata
    return result
