"""The points of a collection: set, fetched, counted, paged through and deleted.

Knows nothing of how they are kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from fastapi import APIRouter, Query
from starlette.convertors import StringConvertor, register_url_convertor
from starlette.responses import Response

from deployments.ingress.collections.bodies import (
    CountAnswer,
    CountBody,
    DeleteAnswer,
    DeleteBody,
    FetchBody,
    PageAnswer,
    Point,
    PointsAnswer,
    ScrollBody,
    UpsertAnswer,
    UpsertBody,
)
from deployments.ingress.collections.embedding import check_count, path, vectors_of
from deployments.ingress.door.visit import Visit
from deployments.ingress.service import Service
from deployments.ingress.state import ServiceHere, VisitHere
from deployments.ingress.wire.answer_size import within_limit
from deployments.ingress.wire.json_bodies import OrjsonRoute, json_response
from embedder.errors import InvalidInput, InvalidVector, NotFound, UnknownCollection
from embedder.index.checks import check_ids
from embedder.index.filters import Filter, parse
from embedder.index.points import Hit, Part, Points, Record
from embedder.types import Priority, Vectors


class _PointId(StringConvertor):
    """Any id, with slashes and line breaks; the routes that its words name take POST only."""

    regex = "(?s:.+)"


register_url_convertor("point_id", _PointId())

reading = APIRouter(prefix="/v1/collections", route_class=OrjsonRoute, tags=["collections"])
writing = APIRouter(prefix="/v1/collections", route_class=OrjsonRoute, tags=["collections"])


@writing.post("/{name}/points")
async def upsert_points(
    name: str, body: UpsertBody, service: ServiceHere, visit: VisitHere
) -> UpsertAnswer:
    """Set points by id; a collection that does not exist is created with the cosine.

    When this has answered, they are on the disk, and found by every search.
    """
    check_count("points", len(body.points), service.settings.limits.max_points)
    vectors = await _vectors(service, visit, body, await _model(service, visit, name, body))
    points = Points(
        ids=[point.id for point in body.points],
        vectors=vectors,
        texts=[point.text for point in body.points],
        metadata=[point.metadata for point in body.points],
    )
    sequence = await service.index.upsert(name, points, visit.deadline)
    return UpsertAnswer(upserted=len(points.ids), sequence=sequence)


@writing.post("/{name}/points/delete")
async def delete_points(
    name: str, body: DeleteBody, service: ServiceHere, visit: VisitHere
) -> DeleteAnswer:
    """Delete points by their ids, or all that meet a filter; what is not there is no error."""
    if (body.ids is None) == (body.filter is None):
        raise InvalidInput("ids", "or a filter must be given, and not both")
    if body.ids is not None:
        check_count("ids", len(body.ids), service.settings.limits.max_points)
        deleted = await service.index.delete_points(name, body.ids, visit.deadline)
    else:
        condition = parse(body.filter)
        deleted = await service.index.delete_matching(name, condition, visit.deadline)
    return DeleteAnswer(deleted=deleted.count, sequence=deleted.sequence)


@reading.post("/{name}/points/fetch", response_model=PointsAnswer)
async def fetch_points(
    name: str, body: FetchBody, service: ServiceHere, visit: VisitHere
) -> Response:
    """Return points by their ids, in the order asked for; what is not there is left out."""
    check_count("ids", len(body.ids), service.settings.limits.max_points)
    records = await service.index.fetch(name, body.ids, body.include, visit.deadline)
    response = json_response({"points": [content(record, body.include) for record in records]})
    return within_limit("ids", response, service.settings.limits)


@reading.post("/{name}/points/count")
async def count_points(
    name: str, body: CountBody, service: ServiceHere, visit: VisitHere
) -> CountAnswer:
    """Count the points, or those that meet a filter."""
    return CountAnswer(count=await service.index.count(name, condition_of(body), visit.deadline))


@reading.post("/{name}/points/scroll", response_model=PageAnswer)
async def scroll_points(
    name: str, body: ScrollBody, service: ServiceHere, visit: VisitHere
) -> Response:
    """Return a page of points in the order of their first insertion, and where the next begins."""
    page = await service.index.scroll(
        name,
        body.cursor,
        body.limit,
        condition_of(body),
        body.include,
        deadline=visit.deadline,
    )
    points = [content(record, body.include) for record in page.records]
    return json_response({"points": points, "cursor": page.cursor})


@reading.get("/{name}/points/{point_id:point_id}", response_model=Point)
async def read_point(
    name: str,
    point_id: str,
    service: ServiceHere,
    visit: VisitHere,
    include: list[Part] = Query(default=["text", "metadata"]),  # noqa: B008 - FastAPI reads it
) -> Response:
    """Return one point by its id, percent-encoded in UTF-8; any id can be read."""
    check_ids([point_id], "id")
    records = await service.index.fetch(name, [point_id], include, visit.deadline)
    if not records:
        raise NotFound("id", point_id)
    return json_response(content(records[0], include))


def condition_of(body: Any, name: str = "filter") -> Filter | None:
    """Return what a body's filter stands for; ``name`` is what the client calls it.

    Raises:
        InvalidInput: it is none; the error names the place in it.
    """
    return None if body.filter is None else parse(body.filter, name)


def content(found: Record | Hit, include: Sequence[Part]) -> dict[str, Any]:
    """Return the id of a point, and what was included."""
    values: dict[str, Any] = {"id": found.id}
    for name in include:
        values[name] = getattr(found, name)
    return values


async def _model(service: Service, visit: Visit, name: str, body: UpsertBody) -> str | None:
    """Return the model for the texts: the body's, else the collection's if there is one."""
    if body.model is not None or all(point.text is None for point in body.points):
        return body.model
    try:
        return await service.index.model_of(name, visit.deadline)
    except UnknownCollection:
        return None


async def _vectors(service: Service, visit: Visit, body: UpsertBody, model: str | None) -> Vectors:
    """Return float32[n, d], a row for every point."""
    names = [f"points[{row}]" for row in range(len(body.points))]
    rows: list[Vectors] = []
    for name, vector in zip(
        names,
        await vectors_of(service, visit, body.points, names, model, Priority.BULK),
        strict=True,
    ):
        if vector is None:
            raise InvalidInput(name, "must have a text or a vector")
        rows.append(vector)
        if len(vector) != len(rows[0]):
            raise InvalidVector(
                path(name, "vector"),
                f"has {len(vector)} components; {names[0]} has {len(rows[0])}",
            )
    return np.stack(rows)
