"""The inference routes of text-embeddings-inference: embed, compare, rank."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from pydantic import ValidationError
from starlette.responses import Response

from deployments.ingress.errors.http_errors import EmptyInput
from deployments.ingress.errors.responses import ErrorShape, InvalidRequest
from deployments.ingress.middleware.context import RequestContext
from deployments.ingress.routing.route import Routes
from deployments.ingress.service.numeric_work import compute
from deployments.ingress.service.service import Service
from deployments.ingress.tei.bodies import (
    EitherBody,
    EmbedBody,
    Rank,
    RerankBody,
    SimilarityBody,
    SimilarityParameters,
)
from deployments.ingress.wire.answer_size import VectorsSize, check_embeddings
from deployments.ingress.wire.field_names import rename_input_errors
from deployments.ingress.wire.formats import timing_headers
from deployments.ingress.wire.json_bodies import json_response
from deployments.ingress.wire.rows import width_of
from deployments.settings.access import Scope
from embedder.core.request import Embeddings, EmbedOptions, concatenate
from embedder.core.types import Input, InputType, Vectors
from embedder.pipeline.work_queue import AdmittedJob
from embedder.similarity.metrics import similarity as similarities
from embedder.similarity.metrics import similarity_price

routes = Routes("text-embeddings-inference", ErrorShape.TEI)


@dataclass(frozen=True, slots=True)
class _ModelRequest:
    """One request for vectors of a model."""

    service: Service
    context: RequestContext
    model: str | None

    async def embed(
        self,
        inputs: Sequence[Input],
        options: EmbedOptions,
        field: str,
        name: Callable[[int], str] | None = None,
    ) -> Embeddings:
        """Embed the inputs of a field; for ``name`` see `rename_input_errors`.

        Raises:
            EmbedderError: as `Service.embed`.
        """
        deadline = self.context.deadline
        with rename_input_errors(field, name):
            return await self.service.embed(inputs, options, deadline, model=self.model)

    def reserve(self, source: str, others: list[str]) -> AbstractContextManager[AdmittedJob]:
        """Admit the comparison of a text with others, before they are embedded.

        Raises:
            Overloaded: the predicted wait is too long; the error says when to retry.
        """
        width = width_of(self.service, self.model, others)
        price = similarity_price(1, len(others), width)
        return self.service.numeric_work.reserve(price, source, others)

    async def respond(self, content: Any, answer: Embeddings, characters: int) -> Response:
        """Return a response with headers about the device, the durations and the tokens."""
        info = await self.service.model(self.model)
        response = await json_response(content)
        response.headers["x-compute-type"] = f"{info.device.partition(':')[0]}+{info.dtype}"
        elapsed_ms = round((time.monotonic() - self.context.began) * 1000)
        response.headers["x-compute-time"] = str(elapsed_ms)
        response.headers["x-compute-characters"] = str(characters)
        response.headers["x-compute-tokens"] = str(int(answer.token_counts.sum()))
        response.headers.update(timing_headers(answer))
        return response


@routes.add("POST", "/embed", scope=Scope.READ, response=list[list[float]])
async def embed(body: EmbedBody, service: Service, context: RequestContext) -> Response:
    """Embed texts or token ids; the response is a list of vectors, also for one input."""
    request = _ModelRequest(service, context, body.model)
    options = replace(
        body.options(),
        prompt_name=body.prompt_name,
        dimensions=body.dimensions,
        normalize=body.normalize,
    )
    await check_embeddings(service, context, body, VectorsSize("inputs", len(body.inputs)))
    answer = await request.embed(body.inputs, options, "inputs")
    return await request.respond(answer.vectors, answer, sum(map(len, body.inputs)))


@routes.add("POST", "/similarity", scope=Scope.READ, response=list[float])
async def similarity(body: SimilarityBody, service: Service, context: RequestContext) -> Response:
    """Compare a sentence with others; the response has their cosines, in order."""
    request = _ModelRequest(service, context, body.model)
    parameters = body.parameters or SimilarityParameters()
    options = replace(parameters.options(), prompt_name=parameters.prompt_name, normalize=False)
    if not body.inputs.sentences:
        raise EmptyInput("inputs.sentences")
    inputs = [body.inputs.source_sentence, *body.inputs.sentences]
    with request.reserve(inputs[0], body.inputs.sentences) as reserved:
        answer = await request.embed(inputs, options, "inputs.sentences", _compared)
        compare = partial(_cosines, answer.vectors[:1], answer.vectors[1:])
        cosines = await compute(context, "similarity", reserved, compare)
    return await request.respond(cosines, answer, sum(map(len, inputs)))


@routes.add("POST", "/rerank", scope=Scope.READ, response=list[Rank])
async def rerank(body: RerankBody, service: Service, context: RequestContext) -> Response:
    """Order texts by their similarity to a query, the most similar first.

    The score is the cosine of the vectors, with the model's prompts for queries and documents; no
    cross-encoder is used.
    """
    request = _ModelRequest(service, context, body.model)
    options = replace(body.options(), normalize=False)
    if not body.texts:
        raise EmptyInput("texts")
    with request.reserve(body.query, body.texts) as reserved:
        # Concurrently, so that both use the same model if the name changes meanwhile.
        query, texts = await _both(
            request.embed(
                [body.query], options.for_input_type(InputType.QUERY), "query", lambda _: "query"
            ),
            request.embed(body.texts, options.for_input_type(InputType.DOCUMENT), "texts"),
        )
        rank = partial(_rank, body, query.vectors, texts.vectors)
        ranks = await compute(context, "ranking", reserved, rank)
    characters = len(body.query) + sum(map(len, body.texts))
    return await request.respond(ranks, concatenate([query, texts]), characters)


@routes.add("POST", "/", scope=Scope.READ, response=list[list[float]] | list[float])
async def embed_or_compare(body: EitherBody, service: Service, context: RequestContext) -> Response:
    """Do as ``/embed``, or as ``/similarity`` if the inputs have a source sentence."""
    if not isinstance(body.inputs, dict):
        return await embed(body, service, context)
    given = {"inputs": body.inputs, "parameters": body.parameters, "model": body.model}
    try:
        comparison = SimilarityBody.model_validate(given, from_attributes=True)
        return await similarity(comparison, service, context)
    except ValidationError as error:
        raise InvalidRequest(error.errors()[0]) from None


async def _both(
    query: Coroutine[Any, Any, Embeddings], texts: Coroutine[Any, Any, Embeddings]
) -> list[Embeddings]:
    """Await both; if one fails, cancel the other."""
    halves = [asyncio.ensure_future(query), asyncio.ensure_future(texts)]
    try:
        return await asyncio.gather(*halves)
    finally:
        for half in halves:
            half.cancel()


def _compared(number: int) -> str:
    return f"inputs.sentences[{number - 1}]" if number else "inputs.source_sentence"


def _rank(body: RerankBody, query: Vectors, texts: Vectors) -> list[dict[str, Any]]:
    cosines = _cosines(query, texts)
    scores = cosines if body.raw_scores else (1 + cosines) / 2
    # Stable, so that texts with equal scores stay in the order of the request.
    order = np.argsort(-scores, kind="stable").tolist()
    return [
        {"index": row, "text": body.texts[row], "score": scores[row]}
        if body.return_text
        else {"index": row, "score": scores[row]}
        for row in order
    ]


def _cosines(source: Vectors, others: Vectors) -> Vectors:
    """Return float32[n] of float32[1, d] and float32[n, d], within -1 and 1."""
    cosines: Vectors = np.clip(similarities(source, others)[0], -1, 1)
    return cosines
