"""The route that searches a collection by text, by vector, or by the id of a point."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

from starlette.responses import Response

from deployments.index.client import ShardedHits
from deployments.ingress.collections.bodies import (
    CollectionName,
    QueryBody,
    SearchAnswer,
    SearchBody,
)
from deployments.ingress.collections.embedding import Contents
from deployments.ingress.middleware.context import RequestContext
from deployments.ingress.middleware.large_bodies import convert_body
from deployments.ingress.routing.route import Routes
from deployments.ingress.service.search_admission import key_of
from deployments.ingress.service.service import Service
from deployments.ingress.wire.answer_size import check_response_size
from deployments.ingress.wire.inputs import check_count
from deployments.ingress.wire.json_bodies import json_response
from deployments.settings.access import Scope
from embedder.core.errors import InvalidInput, Unavailable, UnknownCollection
from embedder.core.types import Priority, Vectors
from embedder.index.contract.filter_parsing import parse
from embedder.index.contract.points import CollectionInfo, Consistency, Hit, PointField, Query

JSON_PER_PICKLED_BYTE = 6
"""The most bytes of JSON for a byte of pickled hits: a control character is escaped by six."""

routes = Routes("collections")


@routes.add("POST", "/v1/collections/{name}/search", scope=Scope.READ, response=SearchAnswer)
async def search(
    name: CollectionName, body: SearchBody, service: Service, context: RequestContext
) -> Response:
    """Find the nearest points of one query or of several.

    If an index shard does not answer, its points are left out, ``partial`` is true and ``missing``
    names the shard; with ``complete`` the search fails instead.
    """
    queries, prefixes = _queries(body, service.settings.limits.max_queries)
    if body.model is not None:
        service.models.check(body.model)
    contents = await convert_body(context, Contents.of, queries, prefixes)
    wanted = [
        _query(name, query, prefix, vector, field, body.consistency)
        for query, prefix, vector, field in zip(
            queries, prefixes, contents.vectors, contents.fields, strict=True
        )
    ]
    keys = [key_of(query, contents.texts.get(row)) for row, query in enumerate(wanted)]
    run = partial(
        service.search_admission.search,
        keys=keys,
        complete=body.complete,
        deadline=context.deadline,
    )

    async def run_by_text(collection: CollectionInfo | None) -> ShardedHits:
        return await run(await _embedded(service, context, body, contents, wanted, collection))

    if contents.texts:
        service.search_admission.check(wanted, keys)
        found = await service.index.reading(body.consistency).collection_cache.run(
            name, run_by_text, deadline=context.deadline, texts=True
        )
    else:
        found = await run(wanted)
    expected_bytes = JSON_PER_PICKLED_BYTE * sum(hits.pickled_bytes for hits in found.hits)
    response = await json_response(_answer(body, queries, found), expected_bytes)
    return check_response_size("top_k", response, service.settings.limits)


def _answer(body: SearchBody, queries: Sequence[QueryBody], found: ShardedHits) -> dict[str, Any]:
    # Iterators, so that each hit is unpickled and written in turn, and other requests can run.
    results = [
        (_result(hit, query.include) for hit in hits)
        for query, hits in zip(queries, found.hits, strict=True)
    ]
    answer: dict[str, Any] = {
        "results": results[0] if body.queries is None else results,
        "partial": bool(found.missing),
    }
    return {**answer, "missing": found.missing} if found.missing else answer


def _queries(body: SearchBody, most: int) -> tuple[Sequence[QueryBody], Sequence[str]]:
    """Return the queries of a body, and what precedes the fields of each in errors.

    Raises:
        InvalidInput: there are none or too many, or a query is incomplete.
    """
    queries: Sequence[QueryBody] = [body] if body.queries is None else body.queries
    check_count("queries", len(queries), most)
    prefixes = [""] if body.queries is None else [f"queries[{row}]." for row in range(len(queries))]
    beside = QueryBody.model_fields.keys() & body.model_fields_set
    if body.queries is not None and beside:
        raise InvalidInput("queries", f"cannot stand beside {sorted(beside)}: put these into each")
    for query, prefix in zip(queries, prefixes, strict=True):
        if (query.text is None) + (query.vector is None) + (query.id is None) != 2:
            raise _not_one_of_three(query, prefix)
    return queries, prefixes


def _not_one_of_three(query: QueryBody, prefix: str) -> InvalidInput:
    given = [name for name in ("text", "vector", "id") if getattr(query, name) is not None]
    if given:
        return InvalidInput(f"{prefix}{given[1]}", f"must be one of {given}")
    return InvalidInput(prefix.rstrip(".") or "text", "must have a text, a vector or an id")


async def _embedded(
    service: Service,
    context: RequestContext,
    body: SearchBody,
    contents: Contents,
    wanted: Sequence[Query],
    collection: CollectionInfo | None,
) -> list[Query]:
    """Return the queries with vectors of their texts by the model of a collection.

    The first search by text records the model, if a collection with points has none: points of an
    older version have no model, and after a change of models they must not be compared with another
    one. If the model cannot be stored now, the next search tries again. A stale one does not wait
    for that.
    """
    if collection is None:
        raise UnknownCollection("collection", wanted[0].collection)
    vectors, model = await contents.embedded(
        service, context, collection, body.model, Priority.INTERACTIVE
    )
    records = body.model is None and body.consistency == "latest"
    if records and collection.count and collection.stored is None:
        with suppress(Unavailable):
            await service.index.record_model(collection, model, context.deadline)
    return [
        replace(query, vector=vector, identity=collection.identity, model=model)
        for query, vector in zip(wanted, vectors, strict=True)
    ]


def _query(
    name: str,
    query: QueryBody,
    prefix: str,
    vector: Vectors | None,
    field: str,
    consistency: Consistency,
) -> Query:
    return Query(
        collection=name,
        vector=vector,
        top_k=query.top_k,
        field=field,
        id=query.id,
        filter=None if query.filter is None else parse(query.filter, f"{prefix}filter"),
        threshold=query.score_threshold,
        diversity=query.diversity,
        include=tuple(query.include),
        consistency=consistency,
    )


def _result(hit: Hit, include: Sequence[PointField]) -> dict[str, Any]:
    result: dict[str, Any] = {"id": hit.id, "score": hit.score}
    if hit.distance is not None:
        result["distance"] = hit.distance
    for name in include:
        result[name] = getattr(hit, name)
    return result
