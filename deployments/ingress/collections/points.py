"""The routes that upsert, fetch, count, scroll, read and delete points."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Annotated, Any

import numpy as np
from fastapi import Path, Query
from starlette.convertors import StringConvertor, register_url_convertor
from starlette.responses import Response

from deployments.ingress.collections.bodies import (
    CollectionName,
    CountAnswer,
    CountBody,
    DeleteAnswer,
    DeleteBody,
    FetchBody,
    FilterBody,
    PageAnswer,
    Point,
    PointsAnswer,
    ReadConsistency,
    ScrollBody,
    UpsertAnswer,
    UpsertBody,
)
from deployments.ingress.collections.documents import Documents
from deployments.ingress.collections.embedding import Contents
from deployments.ingress.middleware.context import RequestContext
from deployments.ingress.middleware.large_bodies import convert_body
from deployments.ingress.routing.route import Routes
from deployments.ingress.service.service import Service
from deployments.ingress.wire.answer_size import check_response_size
from deployments.ingress.wire.inputs import check_count
from deployments.ingress.wire.json_bodies import json_response
from deployments.settings.access import Scope
from embedder.core.errors import InvalidInput, InvalidVector, NotFound
from embedder.core.outputs import Task
from embedder.core.types import Priority, Vectors
from embedder.index.contract.checks import check_ids, check_metadata
from embedder.index.contract.filter_parsing import parse
from embedder.index.contract.filters import Filter
from embedder.index.contract.points import CollectionInfo, PointField, Points, Record


class _PointId(StringConvertor):
    """Any id, also with slashes and line breaks; other routes below ``points/`` take POST."""

    regex = "(?s:.+)"


register_url_convertor("point_id", _PointId())

routes = Routes("collections")


@routes.add("POST", "/v1/collections/{name}/points", scope=Scope.WRITE, response=UpsertAnswer)
async def upsert_points(
    name: CollectionName, body: UpsertBody, service: Service, context: RequestContext
) -> Response:
    """Insert or replace points by id; a missing collection is created with the cosine metric.

    Once this has answered, the points are on disk, and every search finds them. With ``chunking``
    each text is a document, whose chunks are stored as points in place of its earlier chunks.
    """
    check_count("points", len(body.points), service.settings.limits.max_points)
    if body.model is not None:
        service.models.check(body.model, Task.EMBED)
    if body.chunking is not None:
        documents = await convert_body(context, Documents.of, body.points)
        answer = await documents.upsert(name, body, body.chunking, service, context)
        return await json_response(answer.model_dump())
    contents = await convert_body(context, _contents, body)

    async def upsert(collection: CollectionInfo | None) -> int:
        found = await contents.embedded(service, context, collection, body.model, Priority.BULK)
        sparse = found.sparse if any(one is not None for one in found.sparse) else ()
        points = replace(_points(body, found.vectors, contents.fields), sparse=sparse)
        return await service.index.put(name, points, found.model, context.deadline, collection)

    with _rename_vector_errors(contents.fields):
        if contents.texts:
            sequence = await service.index.collection_cache.run(
                name, upsert, deadline=context.deadline, texts=True
            )
        else:
            points = _points(body, contents.vectors, contents.fields)
            sequence = await service.index.upsert(name, points, context.deadline)
    return await json_response({"upserted": len(body.points), "sequence": sequence})


@routes.add("POST", "/v1/collections/{name}/points/delete", scope=Scope.WRITE)
async def delete_points(
    name: CollectionName, body: DeleteBody, service: Service, context: RequestContext
) -> DeleteAnswer:
    """Delete points by id, by document or by a filter; missing points are no error."""
    if (body.ids, body.documents, body.filter).count(None) != 2:
        raise InvalidInput("ids", "or documents or a filter must be given, and only one of these")
    if body.ids is not None:
        check_count("ids", len(body.ids), service.settings.limits.max_points)
        deleted = await service.index.delete_points(name, body.ids, context.deadline)
    elif body.documents is not None:
        check_count("documents", len(body.documents), service.settings.limits.max_points)
        deleted = await service.index.delete_documents(name, body.documents, context.deadline)
    else:
        condition = parse(body.filter)
        deleted = await service.index.delete_matching(name, condition, context.deadline)
    return DeleteAnswer(deleted=deleted.count, sequence=deleted.sequence)


@routes.add("POST", "/v1/collections/{name}/points/fetch", scope=Scope.READ, response=PointsAnswer)
async def fetch_points(
    name: CollectionName, body: FetchBody, service: Service, context: RequestContext
) -> Response:
    """Return points by id, in the order of the ids; missing points are left out."""
    check_count("ids", len(body.ids), service.settings.limits.max_points)
    index = service.index.reading(body.consistency)
    records = await index.fetch(name, body.ids, body.include, context.deadline)
    response = await json_response({"points": (_content(one, body.include) for one in records)})
    return check_response_size("ids", response, service.settings.limits)


@routes.add("POST", "/v1/collections/{name}/points/count", scope=Scope.READ)
async def count_points(
    name: CollectionName, body: CountBody, service: Service, context: RequestContext
) -> CountAnswer:
    """Count the points, or those that match a filter."""
    index = service.index.reading(body.consistency)
    return CountAnswer(count=await index.count(name, _condition(body), context.deadline))


@routes.add("POST", "/v1/collections/{name}/points/scroll", scope=Scope.READ, response=PageAnswer)
async def scroll_points(
    name: CollectionName, body: ScrollBody, service: Service, context: RequestContext
) -> Response:
    """Return a page of points in the order of their insertion, and the cursor of the next page."""
    page = await service.index.reading(body.consistency).scroll(
        name,
        body.cursor,
        body.limit,
        _condition(body),
        body.include,
        deadline=context.deadline,
    )
    points = (_content(record, body.include) for record in page.records)
    return await json_response({"points": points, "cursor": page.cursor})


@routes.add(
    "GET", "/v1/collections/{name}/points/{point_id:point_id}", scope=Scope.READ, response=Point
)
async def read_point(
    name: CollectionName,
    point_id: Annotated[str, Path()],
    service: Service,
    context: RequestContext,
    include: Annotated[list[PointField], Query()] = ["text", "metadata"],  # noqa: B006 - never changed
    consistency: ReadConsistency = "latest",
) -> Response:
    """Return one point by its id, percent-encoded in UTF-8; any id can be read."""
    check_ids([point_id], "id")
    index = service.index.reading(consistency)
    records = await index.fetch(name, [point_id], include, context.deadline)
    if not records:
        raise NotFound("id", point_id)
    return await json_response(_content(records[0], include))


def _condition(body: FilterBody) -> Filter | None:
    return None if body.filter is None else parse(body.filter)


def _content(found: Record, include: Sequence[PointField]) -> dict[str, Any]:
    """Return the id and the included fields of a point."""
    return {"id": found.id} | {name: getattr(found, name) for name in include}


def _contents(body: UpsertBody) -> Contents:
    """Check the metadata of the points, and convert their vectors.

    Raises:
        InvalidInput: the metadata or a vector of a point is invalid.
    """
    check_metadata([point.metadata for point in body.points])
    return Contents.of(body.points, [f"points[{row}]." for row in range(len(body.points))])


def _points(body: UpsertBody, vectors: Sequence[Vectors | None], fields: Sequence[str]) -> Points:
    """Return the points of a body, with their vectors as float32[n, d].

    Raises:
        InvalidInput: a point has neither text nor vector.
        InvalidVector: widths differ.
    """
    rows: list[Vectors] = []
    for row, (vector, field) in enumerate(zip(vectors, fields, strict=True)):
        if vector is None:
            raise InvalidInput(f"points[{row}]", "must have a text or a vector")
        rows.append(vector)
        if len(vector) != len(rows[0]):
            problem = f"has {len(vector)} components; {fields[0]} has {len(rows[0])}"
            raise InvalidVector(field, problem)
    return Points(
        ids=[point.id for point in body.points],
        vectors=np.stack(rows),
        texts=[point.text for point in body.points],
        metadata=[point.metadata for point in body.points],
    )


@contextmanager
def _rename_vector_errors(fields: Sequence[str]) -> Iterator[None]:
    """Rename ``points[i].vector`` in errors to the field that the client has sent."""
    try:
        yield
    except InvalidVector as error:
        sent = {f"points[{row}].vector": field for row, field in enumerate(fields)}
        raise error.with_field(sent.get(error.field, error.field)) from None
