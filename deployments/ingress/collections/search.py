"""The route that searches a collection by text, by vector, or by the id of a point."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from starlette.responses import Response

from deployments.ingress.collections.bodies import CollectionName
from deployments.ingress.collections.reranking import check_rerankers, rerank_hits
from deployments.ingress.collections.retrieval import Retrieval
from deployments.ingress.collections.search_bodies import (
    HitField,
    QueryBody,
    SearchAnswer,
    SearchBody,
)
from deployments.ingress.collections.search_queries import (
    is_ordered_later,
    queries_of,
    read_by_model,
)
from deployments.ingress.middleware.context import RequestContext
from deployments.ingress.routing.route import Routes
from deployments.ingress.service.service import Service
from deployments.ingress.wire.answer_size import check_response_size
from deployments.ingress.wire.json_bodies import json_response
from deployments.rpc.pickled_rows import PickledRows
from deployments.settings.access import Scope
from embedder.core.outputs import Task
from embedder.index.contract.points import Hit
from embedder.index.fusion import Component
from embedder.index.ranking.documents import limit_per_document
from embedder.index.ranking.ranked_hits import RankedHit, ranked, select

JSON_PER_PICKLED_BYTE = 6
"""The most bytes of JSON for a byte of pickled hits: a control character is escaped by six."""

routes = Routes("collections")


@routes.add("POST", "/v1/collections/{name}/search", scope=Scope.READ, response=SearchAnswer)
async def search(
    name: CollectionName, body: SearchBody, service: Service, context: RequestContext
) -> Response:
    """Find the nearest points of one query or of several.

    If an index shard does not answer, its points are left out, ``partial`` is true and ``missing``
    names the shard; with ``complete`` the search fails instead. With ``hybrid`` the words of a
    text are searched too. A search with ``rerank`` fails if the model cannot read all hits.
    """
    queries, prefixes = queries_of(body, service.settings.limits)
    if body.model is not None:
        service.models.check(body.model, Task.EMBED)
    await check_rerankers(service, queries, prefixes, context.deadline)
    retrieval = Retrieval(name, body, queries, prefixes, service, context)
    rankings, missing = await retrieval.run()
    results: list[Iterator[dict[str, Any]]]
    if any(map(_needs_whole_lists, queries)):
        lists = [await _ranked(query, each) for query, each in zip(queries, rankings, strict=True)]
        lists = await rerank_hits(service, queries, lists, context.deadline)
        results = list(map(_ranked_results, queries, lists))
    else:
        # Iterators, so that each hit is unpickled and written in turn, and other requests can run.
        results = [
            _results(query, each["dense"]) for query, each in zip(queries, rankings, strict=True)
        ]
    pickled = sum(hits.pickled_bytes for each in rankings for hits in each.values())
    answer = _answer(body, results, missing)
    response = await json_response(answer, JSON_PER_PICKLED_BYTE * pickled)
    return check_response_size("top_k", response, service.settings.limits)


def _needs_whole_lists(query: QueryBody) -> bool:
    limited = query.per_document is not None
    return limited or is_ordered_later(query) or "scores" in query.include


async def _ranked(query: QueryBody, rankings: Mapping[str, PickledRows[Hit]]) -> list[RankedHit]:
    """Return the hits of a query, fused if it has several rankings."""
    hits = {name: await rows.unpickled() for name, rows in rankings.items()}
    if query.hybrid is None:
        return ranked(hits)
    await asyncio.sleep(0)  # fusing 2,000 hits takes some ms: other requests run between queries
    top_k = read_by_model(query) if query.per_document is None else None
    weights = query.hybrid.weights.model_dump()
    return ranked(hits, query.hybrid.fusion, weights, top_k=top_k)


def _answer(
    body: SearchBody, results: Sequence[Iterator[dict[str, Any]]], missing: list[str]
) -> dict[str, Any]:
    answer: dict[str, Any] = {
        "results": results[0] if body.queries is None else list(results),
        "partial": bool(missing),
    }
    return {**answer, "missing": missing} if missing else answer


def _results(query: QueryBody, hits: Iterable[Hit]) -> Iterator[dict[str, Any]]:
    return (_result(hit, hit.score, query.include) for hit in hits)


def _ranked_results(query: QueryBody, hits: Sequence[RankedHit]) -> Iterator[dict[str, Any]]:
    threshold = query.score_threshold if is_ordered_later(query) else None
    hits = list(limit_per_document(hits, query.per_document))
    return (
        _result(one.hit, one.score, query.include, one.components)
        for one in select(hits, query.top_k, threshold)
    )


def _result(
    hit: Hit,
    score: float | None,
    include: Sequence[HitField],
    scores: Mapping[str, Component | None] | None = None,
) -> dict[str, Any]:
    result: dict[str, Any] = {"id": hit.id, "score": score}
    if hit.distance is not None:
        result["distance"] = hit.distance
    for name in include:
        result[name] = scores if name == "scores" else getattr(hit, name)
    return result
