"""The routes of text-embeddings-inference for scores: rank texts, and classify them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from starlette.responses import Response

from deployments.ingress.errors.http_errors import EmptyInput
from deployments.ingress.errors.responses import ErrorShape
from deployments.ingress.middleware.context import RequestContext
from deployments.ingress.ranking.ranking import rank
from deployments.ingress.ranking.ranking_request import RankingRequest
from deployments.ingress.routing.route import Routes
from deployments.ingress.service.service import Service
from deployments.ingress.tei.headers import compute_headers
from deployments.ingress.tei.scoring_bodies import PredictBody, Prediction, Rank, RerankBody
from deployments.ingress.wire.answer_size import check_size
from deployments.ingress.wire.field_names import rename_input_errors
from deployments.ingress.wire.json_bodies import json_response
from deployments.settings.access import Scope
from embedder.core.outputs import Task
from embedder.core.vectors import activate

LABEL_BYTES = 40
"""The label and the score of a class in a response, without the name of the label."""

routes = Routes("text-embeddings-inference", ErrorShape.TEI)


@routes.add("POST", "/rerank", scope=Scope.READ, response=list[Rank])
async def rerank(body: RerankBody, service: Service, context: RequestContext) -> Response:
    """Order texts by how well they answer a query, the best first.

    A cross-encoder reads each text with the query; only ``"method": "bi-encoder"`` compares
    vectors, with the model's prompts for queries and documents.
    """
    if not body.texts:
        raise EmptyInput("texts")
    request = RankingRequest(
        body.query,
        body.texts,
        "texts",
        body.options(),
        model=body.model,
        method=body.method,
        raw=body.raw_scores,
    )
    ranking = await rank(service, context, request)
    response = await json_response(
        [
            {"index": row, "text": body.texts[row], "score": ranking.scores[row]}
            if body.return_text
            else {"index": row, "score": ranking.scores[row]}
            for row in ranking.order
        ]
    )
    of_query = len(body.texts) if body.method == "cross-encoder" else 1
    characters = len(body.query) * of_query + sum(map(len, body.texts))
    model = await service.model(ranking.answer.model, deadline=context.deadline)
    response.raw_headers += compute_headers(context, model, ranking.answer, characters)
    return response


@routes.add(
    "POST", "/predict", scope=Scope.READ, response=list[Prediction] | list[list[Prediction]]
)
async def predict(body: PredictBody, service: Service, context: RequestContext) -> Response:
    """Score the labels of texts, or of pairs of texts, the best label of each first."""
    rows, parameters = body.inputs.rows, body.parameters
    model = await service.model(body.model, task=Task.CLASSIFY, deadline=context.deadline)
    labels = model.labels
    size = len(rows) * (sum(map(len, labels)) + len(labels) * LABEL_BYTES)
    check_size("inputs", size, service.settings.limits)
    with rename_input_errors("inputs"):
        answer = await service.score(
            rows, body.options(), context.deadline, model=body.model, raw=True
        )
    labels = answer.labels  # a name may have changed to another model meanwhile
    function = None if parameters is None else parameters.function_to_apply
    if function is None:
        function = "none" if body.raw_scores else "sigmoid" if len(labels) == 1 else "softmax"
    most = None if parameters is None else parameters.top_k
    predictions = (tuple(_predictions(row, labels, function, most)) for row in answer.scores)
    # Clients of the Hub, which send parameters, expect a list of lists.
    is_list = body.inputs.is_batch or parameters is not None
    response = await json_response(predictions if is_list else next(predictions))
    characters = sum(map(len, rows))
    response.raw_headers += compute_headers(context, model, answer, characters)
    return response


def _predictions(
    raw: NDArray[np.float32], labels: Sequence[str], function: str, most: int | None
) -> Iterator[dict[str, Any]]:
    """Yield the labels of one text by falling score, at most ``most``."""
    scores = _applied(raw, function)
    order = np.argsort(-raw, kind="stable")[:most].tolist()
    return ({"score": scores[at], "label": labels[at]} for at in order)


def _applied(raw: NDArray[np.float32], function: str) -> NDArray[np.float32]:
    """Return float32[labels] after a function of text-embeddings-inference."""
    if function == "none":
        return raw
    if function == "sigmoid":
        return activate(raw, "sigmoid")
    powers = np.exp(raw - raw.max())  # which does not overflow
    shares: NDArray[np.float32] = powers / powers.sum()
    return shares
