"""The routes of text-embeddings-inference for vectors: embed and compare."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from pydantic import ValidationError
from starlette.responses import Response

from deployments.ingress.errors.http_errors import EmptyInput
from deployments.ingress.errors.responses import ErrorShape, InvalidRequest
from deployments.ingress.middleware.context import RequestContext
from deployments.ingress.ranking.bi_encoder import cosines
from deployments.ingress.routing.route import Routes
from deployments.ingress.service.numeric_work import compute
from deployments.ingress.service.service import Service
from deployments.ingress.tei.bodies import (
    EitherBody,
    EmbedBody,
    SimilarityBody,
    SimilarityParameters,
)
from deployments.ingress.tei.headers import compute_headers
from deployments.ingress.wire.answer_size import VectorsSize, check_embeddings
from deployments.ingress.wire.field_names import rename_input_errors
from deployments.ingress.wire.json_bodies import json_response
from deployments.ingress.wire.rows import width_of
from deployments.settings.access import Scope
from embedder.core.outputs import Task
from embedder.core.request import Embeddings, EmbedOptions
from embedder.core.types import Input
from embedder.pipeline.work_queue import AdmittedJob
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
        info = await self.service.model(self.model, task=Task.EMBED)
        response = await json_response(content)
        response.raw_headers += compute_headers(self.context, info, answer, characters)
        return response


@routes.add("POST", "/embed", scope=Scope.READ, response=list[list[float]])
async def embed(body: EmbedBody, service: Service, context: RequestContext) -> Response:
    """Embed texts or token ids; the response is a list of vectors, also for one input."""
    request = _ModelRequest(service, context, body.model)
    options = replace(
        body.options(),
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
        compare = partial(cosines, answer.vectors[:1], answer.vectors[1:])
        found = await compute(context, "similarity", reserved, compare)
    return await request.respond(found, answer, sum(map(len, inputs)))


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


def _compared(number: int) -> str:
    return f"inputs.sentences[{number - 1}]" if number else "inputs.source_sentence"
