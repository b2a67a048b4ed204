"""Searches in a collection: by text, by vector, or by the id of a point.

Knows nothing of how vectors are kept or found.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter
from starlette.responses import Response

from deployments.ingress.collections.bodies import QueryBody, SearchAnswer, SearchBody
from deployments.ingress.collections.embedding import check_count, path, vectors_of
from deployments.ingress.collections.points import condition_of, content
from deployments.ingress.state import ServiceHere, VisitHere
from deployments.ingress.wire.answer_size import within_limit
from deployments.ingress.wire.json_bodies import OrjsonRoute, json_response
from embedder.errors import InvalidInput
from embedder.index.points import Hit, Query
from embedder.types import Priority, Vectors

reading = APIRouter(prefix="/v1/collections", route_class=OrjsonRoute, tags=["collections"])


@reading.post("/{name}/search", response_model=SearchAnswer, response_model_exclude_unset=True)
async def search(name: str, body: SearchBody, service: ServiceHere, visit: VisitHere) -> Response:
    """Find the nearest points of one query or of several.

    Where a shard of the index does not answer, its points are left out, ``partial`` is true and
    ``missing`` names it; with ``complete`` such a search fails instead.
    """
    queries: Sequence[QueryBody] = [body] if body.queries is None else body.queries
    check_count("queries", len(queries), service.settings.limits.max_queries)
    names = [""] if body.queries is None else [f"queries[{row}]" for row in range(len(queries))]
    beside = QueryBody.model_fields.keys() & body.model_fields_set
    if body.queries is not None and beside:
        raise InvalidInput("queries", f"cannot stand beside {sorted(beside)}: put these into each")
    for query, prefix in zip(queries, names, strict=True):
        _check_one(query, prefix)
    model = body.model
    if model is None and any(query.text is not None for query in queries):
        model = await service.index.model_of(name, visit.deadline)
    vectors = await vectors_of(service, visit, queries, names, model, Priority.INTERACTIVE)
    found = await service.index.search(
        [
            _query(name, query, vector, prefix)
            for query, vector, prefix in zip(queries, vectors, names, strict=True)
        ],
        complete=body.complete,
        deadline=visit.deadline,
    )
    results = [
        [_result(hit, query) for hit in hits]
        for query, hits in zip(queries, found.hits, strict=True)
    ]
    answer: dict[str, Any] = {
        "results": results[0] if body.queries is None else results,
        "partial": bool(found.missing),
    }
    if found.missing:
        answer["missing"] = found.missing
    return within_limit("top_k", json_response(answer), service.settings.limits)


def _check_one(query: QueryBody, prefix: str) -> None:
    given = [name for name in ("text", "vector", "id") if getattr(query, name) is not None]
    if len(given) != 1:
        problem = f"must be one of {given}" if given else "must have a text, a vector or an id"
        raise InvalidInput(path(prefix, given[1]) if given else prefix or "text", problem)


def _query(name: str, query: QueryBody, vector: Vectors | None, prefix: str) -> Query:
    return Query(
        collection=name,
        vector=vector,
        top_k=query.top_k,
        field=path(prefix, "vector"),
        id=query.id,
        filter=condition_of(query, path(prefix, "filter")),
        threshold=query.score_threshold,
        diversity=query.diversity,
        include=tuple(query.include),
    )


def _result(hit: Hit, query: QueryBody) -> dict[str, Any]:
    result = {"id": hit.id, "score": hit.score}
    if hit.distance is not None:
        result["distance"] = hit.distance
    return {**result, **content(hit, query.include)}
