"""The route that searches a collection by text, by vector, or by the id of a point."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

from starlette.responses import Response

from deployments.index.client import ShardedHits
from deployments.ingress.collections.bodies import CollectionName
from deployments.ingress.collections.embedding import Contents
from deployments.ingress.collections.reranking import find_scorers, rerank_hits
from deployments.ingress.collections.search_bodies import (
    HitField,
    QueryBody,
    SearchAnswer,
    SearchBody,
)
from deployments.ingress.collections.search_queries import index_query, queries_of
from deployments.ingress.middleware.context import RequestContext
from deployments.ingress.middleware.large_bodies import convert_body
from deployments.ingress.routing.route import Routes
from deployments.ingress.service.search_admission import key_of
from deployments.ingress.service.service import Service
from deployments.ingress.wire.answer_size import check_response_size
from deployments.ingress.wire.json_bodies import json_response
from deployments.settings.access import Scope
from embedder.core.errors import Unavailable, UnknownCollection
from embedder.core.outputs import Task
from embedder.core.types import Priority
from embedder.index.contract.points import CollectionInfo, Hit, Query
from embedder.index.ranking.ranked_hits import (
    Component,
    ComponentScore,
    RankedHit,
    found_by,
    select,
)

JSON_PER_PICKLED_BYTE = 6
"""The most bytes of JSON for a byte of pickled hits: a control character is escaped by six."""

routes = Routes("collections")


@routes.add("POST", "/v1/collections/{name}/search", scope=Scope.READ, response=SearchAnswer)
async def search(
    name: CollectionName, body: SearchBody, service: Service, context: RequestContext
) -> Response:
    """Find the nearest points of one query or of several.

    If an index shard does not answer, its points are left out, ``partial`` is true and ``missing``
    names the shard; with ``complete`` the search fails instead. A search with ``rerank`` fails if
    the model cannot read the texts of all hits.
    """
    queries, prefixes = queries_of(body, service.settings.limits)
    if body.model is not None:
        service.models.check(body.model, Task.EMBED)
    scorers = await find_scorers(service, queries, prefixes, context.deadline)
    contents = await convert_body(context, Contents.of, queries, prefixes)
    wanted = [
        index_query(name, query, prefix, vector, field, body.consistency)
        for query, prefix, vector, field in zip(
            queries, prefixes, contents.vectors, contents.fields, strict=True
        )
    ]
    found = await _found(body, service, context, contents, wanted)
    results: list[Iterator[dict[str, Any]]]
    if scorers or any("scores" in query.include for query in queries):
        lists = [found_by("dense", await hits.unpickled()) for hits in found.hits]
        lists = await rerank_hits(service, scorers, queries, lists, context.deadline)
        results = list(map(_ranked_results, queries, lists))
    else:
        # Iterators, so that each hit is unpickled and written in turn, and other requests can run.
        results = list(map(_results, queries, found.hits))
    expected_bytes = JSON_PER_PICKLED_BYTE * sum(hits.pickled_bytes for hits in found.hits)
    response = await json_response(_answer(body, results, found.missing), expected_bytes)
    return check_response_size("top_k", response, service.settings.limits)


async def _found(
    body: SearchBody,
    service: Service,
    context: RequestContext,
    contents: Contents,
    wanted: Sequence[Query],
) -> ShardedHits:
    """Return the hits of the queries, whose texts are embedded first.

    Raises:
        EmbedderError: as `SearchAdmission.search` and `Service.embed_for`.
    """
    keys = [key_of(query, contents.texts.get(row)) for row, query in enumerate(wanted)]
    run = partial(
        service.search_admission.search,
        keys=keys,
        complete=body.complete,
        deadline=context.deadline,
    )

    async def run_by_text(collection: CollectionInfo | None) -> ShardedHits:
        return await run(await _embedded(service, context, body, contents, wanted, collection))

    if not contents.texts:
        return await run(wanted)
    service.search_admission.check(wanted, keys)
    return await service.index.reading(body.consistency).collection_cache.run(
        wanted[0].collection, run_by_text, deadline=context.deadline, texts=True
    )


def _answer(
    body: SearchBody, results: Sequence[Iterator[dict[str, Any]]], missing: list[str]
) -> dict[str, Any]:
    answer: dict[str, Any] = {
        "results": results[0] if body.queries is None else list(results),
        "partial": bool(missing),
    }
    return {**answer, "missing": missing} if missing else answer


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


def _results(query: QueryBody, hits: Iterable[Hit]) -> Iterator[dict[str, Any]]:
    return (_result(hit, hit.score, query.include) for hit in hits)


def _ranked_results(query: QueryBody, hits: Sequence[RankedHit]) -> Iterator[dict[str, Any]]:
    threshold = query.score_threshold if query.rerank else None
    return (
        _result(one.hit, one.score, query.include, one.components)
        for one in select(hits, query.top_k, threshold)
    )


def _result(
    hit: Hit,
    score: float | None,
    include: Sequence[HitField],
    scores: Mapping[Component, ComponentScore | None] | None = None,
) -> dict[str, Any]:
    result: dict[str, Any] = {"id": hit.id, "score": score}
    if hit.distance is not None:
        result["distance"] = hit.distance
    for name in include:
        result[name] = scores if name == "scores" else getattr(hit, name)
    return result
