"""The rerank routes of Cohere's API, and of Jina's, which has the path of Cohere's version 1.

Scores are in [0, 1], as both promise: the sigmoid of what a cross-encoder computes.
"""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from starlette.responses import Response

from deployments.ingress.cohere.rerank_bodies import (
    CohereRanking,
    CohereRerankBody,
    JinaRanking,
    JinaRerankBody,
)
from deployments.ingress.errors.responses import ErrorShape
from deployments.ingress.middleware.context import RequestContext
from deployments.ingress.ranking.documents import shortened
from deployments.ingress.ranking.ranking import Ranking, rank
from deployments.ingress.ranking.ranking_request import RankingRequest
from deployments.ingress.routing.route import Routes
from deployments.ingress.service.service import Service
from deployments.ingress.wire.formats import timing_headers
from deployments.ingress.wire.json_bodies import json_response
from deployments.settings.access import Scope
from embedder.core.outputs import Task
from embedder.core.request import EmbedOptions
from embedder.core.types import Priority, Truncate

DOCUMENTS_PER_UNIT = 100
"""Documents that Cohere counts as one search."""

routes = Routes("cohere", ErrorShape.COHERE)
jina_routes = Routes("jina", ErrorShape.JINA)


@routes.add("POST", "/v2/rerank", scope=Scope.READ, response=CohereRanking)
async def rerank(body: CohereRerankBody, service: Service, context: RequestContext) -> Response:
    """Order documents by how well they answer a query, the best first.

    Documents that are too long for the model are cut.
    """
    task = Task.RERANK if body.method == "cross-encoder" else Task.EMBED
    most = body.max_tokens_per_doc
    texts = await shortened(service, context, body.documents, most, body.model, task)
    priority = Priority.BULK if body.priority else Priority.INTERACTIVE
    request = _request(body, texts, priority)
    ranking = await rank(service, context, request)
    results = [_result(ranking, row) for row in ranking.order[: body.top_n]]
    content = {
        "id": context.request_id or str(uuid4()),
        "results": results,
        "meta": _meta("2", ranking, len(texts)),
    }
    response = await json_response(content)
    response.raw_headers += timing_headers(ranking.answer)
    return response


@jina_routes.add("POST", "/v1/rerank", scope=Scope.READ, response=JinaRanking)
async def rerank_by_jina(
    body: JinaRerankBody, service: Service, context: RequestContext
) -> Response:
    """Order documents by how well they answer a query, the best first.

    Documents that are too long for the model are cut. The answer has the fields of Jina's API and
    those of version 1 of Cohere's.
    """
    ranking = await rank(service, context, _request(body, body.documents, Priority.INTERACTIVE))
    tokens = int(ranking.answer.token_counts.sum())
    content = {
        "id": context.request_id or str(uuid4()),
        "object": "list",
        "model": ranking.answer.model,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
        "results": [
            {**_result(ranking, row), "document": {"text": body.documents[row]}}
            if body.return_documents
            else _result(ranking, row)
            for row in ranking.order[: body.top_n]
        ],
        "meta": _meta("1", ranking, len(body.documents)),
    }
    response = await json_response(content)
    response.raw_headers += timing_headers(ranking.answer)
    return response


def _request(
    body: CohereRerankBody | JinaRerankBody, texts: list[str], priority: Priority
) -> RankingRequest:
    options = EmbedOptions(truncate=Truncate.END, any_length=True, priority=priority)
    return RankingRequest(
        body.query, texts, "documents", options, model=body.model, method=body.method
    )


def _result(ranking: Ranking, row: int) -> dict[str, Any]:
    return {"index": row, "relevance_score": ranking.scores[row]}


def _meta(version: str, ranking: Ranking, documents: int) -> dict[str, Any]:
    return {
        "api_version": {"version": version},
        "billed_units": {"search_units": -(-documents // DOCUMENTS_PER_UNIT)},
        "tokens": {"input_tokens": int(ranking.answer.token_counts.sum())},
    }
