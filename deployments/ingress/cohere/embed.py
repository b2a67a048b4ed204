"""Cohere's embed API, of both versions: texts to vectors in several forms at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal
from uuid import uuid4

from starlette.responses import Response

from deployments.ingress.cohere.bodies import EmbedAnswer, EmbedBody, EmbeddingType, FloatsAnswer
from deployments.ingress.errors.responses import ErrorShape
from deployments.ingress.middleware.context import RequestContext
from deployments.ingress.routing.route import Routes
from deployments.ingress.service.service import Service
from deployments.ingress.wire.answer_size import VectorsSize, check_embeddings, component_bytes
from deployments.ingress.wire.field_names import rename_input_errors
from deployments.ingress.wire.formats import EncodingFormat, Format, rows_of, timing_headers
from deployments.ingress.wire.json_bodies import json_response
from deployments.ingress.wire.quantization import OutputDtype, quantize
from deployments.settings.access import Scope
from embedder.core.errors import InvalidInput
from embedder.core.outputs import Task
from embedder.core.types import Vectors

routes = Routes("cohere", ErrorShape.COHERE)

DIMENSIONS = {"dimensions": "output_dimension"}
"""Cohere's name of a field of the pipeline, for errors."""

_FORMS: Mapping[EmbeddingType, tuple[OutputDtype, EncodingFormat]] = {
    "float": (OutputDtype.FLOAT32, "float"),
    "base64": (OutputDtype.FLOAT32, "base64"),
    "int8": (OutputDtype.INT8, "float"),
    "uint8": (OutputDtype.UINT8, "float"),
    "binary": (OutputDtype.BINARY, "float"),
    "ubinary": (OutputDtype.UBINARY, "float"),
}


@routes.add("POST", "/v2/embed", scope=Scope.READ, response=EmbedAnswer)
async def embed(body: EmbedBody, service: Service, context: RequestContext) -> Response:
    """Embed texts; the response has the vectors in each of the requested forms."""
    return await _embed(body, service, context, "2")


@routes.add("POST", "/v1/embed", scope=Scope.READ, response=EmbedAnswer | FloatsAnswer)
async def embed_v1(body: EmbedBody, service: Service, context: RequestContext) -> Response:
    """Do as ``/v2/embed``; without ``embedding_types`` the response is a list of vectors."""
    return await _embed(body, service, context, "1")


async def _embed(
    body: EmbedBody, service: Service, context: RequestContext, version: Literal["1", "2"]
) -> Response:
    texts, field, place = body.given_texts()
    forms = list(dict.fromkeys(body.embedding_types or ("float",)))
    component = sum(
        component_bytes(dtype, Format.JSON, encoding)
        for dtype, encoding in map(_FORMS.__getitem__, forms)
    )
    size = VectorsSize(field, len(texts), component, sum(map(len, texts)))
    await check_embeddings(service, context, body, size)
    if body.max_tokens is not None:
        await _check_max_tokens(body, service, context)
    with rename_input_errors(field, place, DIMENSIONS):
        answer = await service.embed(texts, body.options(), context.deadline, model=body.model)
    listed = version == "1" and body.embedding_types is None
    by_type = {form: _written(answer.vectors, form) for form in forms}
    content = {
        "response_type": "embeddings_floats" if listed else "embeddings_by_type",
        "id": context.request_id or str(uuid4()),
        "embeddings": by_type["float"] if listed else by_type,
        "texts": texts,
        "meta": {
            "api_version": {"version": version},
            "billed_units": {"input_tokens": int(answer.token_counts.sum())},
        },
    }
    response = await json_response(content, size.bytes(answer.vectors.shape[1]))
    response.raw_headers += timing_headers(answer)
    return response


async def _check_max_tokens(body: EmbedBody, service: Service, context: RequestContext) -> None:
    """Refuse a limit of tokens below that of the model, the only one at which texts are cut.

    Raises:
        InvalidInput: ``max_tokens`` is below the limit of the model.
        EmbedderError: as `Service.model`.
    """
    model = await service.model(body.model, task=Task.EMBED, deadline=context.deadline)
    limit = model.max_tokens
    if body.max_tokens is not None and body.max_tokens < limit:
        raise InvalidInput(
            "max_tokens",
            f"is {body.max_tokens}; texts are cut at the model's limit, {limit} tokens",
        )


def _written(vectors: Vectors, form: EmbeddingType) -> Any:
    """Return the JSON value of all vectors in one form."""
    dtype, encoding = _FORMS[form]
    return rows_of(quantize(vectors, dtype), encoding)
