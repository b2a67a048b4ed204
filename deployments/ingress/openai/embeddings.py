"""OpenAI's embeddings API, with additions: prompts, truncation, number formats, streams."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from typing import Any

from numpy.typing import NDArray
from starlette.responses import Response, StreamingResponse

from deployments.ingress.errors.responses import error_content
from deployments.ingress.middleware.context import RequestContext
from deployments.ingress.openai import streams
from deployments.ingress.openai.chunked_inputs import ChunkedInputs, check_format, chunked_inputs
from deployments.ingress.openai.embedding_bodies import EmbeddingsRequest, EmbeddingsResponse
from deployments.ingress.openai.jina_fields import JINA_FIELDS, with_own_fields
from deployments.ingress.openai.output_types import answer_outputs, list_content
from deployments.ingress.routing.route import Routes
from deployments.ingress.service.service import Service
from deployments.ingress.wire.answer_size import VectorsSize, check_size, component_bytes
from deployments.ingress.wire.formats import (
    EncodingFormat,
    Format,
    binary_response,
    negotiate,
    rows_of,
    timing_headers,
)
from deployments.ingress.wire.json_bodies import json_lines, json_response
from deployments.ingress.wire.quantization import OutputDtype, check_quantizable, quantize
from deployments.settings.access import Scope
from embedder.core.outputs import Task
from embedder.core.request import Embeddings

Lines = AsyncIterator[bytes]

routes = Routes("openai")


@routes.add("POST", "/embeddings", "/v1/embeddings", scope=Scope.READ, response=EmbeddingsResponse)
async def create_embeddings(
    body: EmbeddingsRequest, service: Service, context: RequestContext
) -> Response:
    """Embed texts or token ids.

    ``Accept`` selects JSON, lines of JSON as results are ready, or the bytes of all vectors.
    """
    if not JINA_FIELDS.isdisjoint(body.model_fields_set):
        body = with_own_fields(body)
    if body.output_types is not None and set(body.output_types) != {"dense"}:
        return await answer_outputs(body, body.output_types, service, context)
    dtype, encoding = body.output_dtype, body.encoding_format
    if dtype is not OutputDtype.FLOAT32:
        check_quantizable(dtype, body.normalize)
    options, limits = body.options(), service.settings.limits
    kind = negotiate(context.headers.get(b"accept", b""))
    connection = await service.models.get(body.model, context.deadline, task=Task.EMBED)
    chunked = None
    if body.chunking is not None:
        check_format(kind)
        chunked = await chunked_inputs(body, body.chunking, connection, limits, context)
    inputs = body.input if chunked is None else chunked.inputs
    if kind is Format.NDJSON:
        embed = partial(service.embed_by, connection, options=options, deadline=context.deadline)
        wanted = streams.Request(embed, inputs, context.deadline, limits.max_inputs)
        return await _stream(wanted, body, chunked, context)
    component = component_bytes(dtype, kind, encoding)
    size = VectorsSize("input", len(chunked.fields if chunked else inputs), component)
    with chunked.naming() if chunked else nullcontext():
        check_size("input", size.bytes(body.dimensions or connection.info.width), limits)
        answer = await service.embed_by(connection, inputs, options, context.deadline)
    if dtype is not OutputDtype.FLOAT32:
        answer = replace(answer, vectors=quantize(answer.vectors, dtype))
    if kind is Format.JSON:
        response = await _json(answer, body, chunked, answer.vectors.size * component)
    else:
        response = binary_response(answer.vectors, kind)
    response.raw_headers += timing_headers(answer)
    return response


async def _json(
    answer: Embeddings, body: EmbeddingsRequest, chunked: ChunkedInputs | None, size: float
) -> Response:
    """Return the response in JSON, which has about ``size`` bytes."""
    data = _data(answer.vectors, body.encoding_format)
    data = data if chunked is None else chunked.add_fields(data)
    model = body.model or answer.model
    return await json_response(list_content(model, int(answer.token_counts.sum()), data=data), size)


async def _stream(
    wanted: streams.Request[Embeddings],
    body: EmbeddingsRequest,
    chunked: ChunkedInputs | None,
    context: RequestContext,
) -> Response:
    """Return a response that begins once the first inputs have been embedded.

    Raises:
        EmbedderError: as `streams.begin`.
    """
    with chunked.naming() if chunked else nullcontext():
        parts = await streams.begin(wanted)
    lines = _lines(parts, body, chunked, context)
    return StreamingResponse(lines, media_type=Format.NDJSON.value)


async def _lines(
    parts: AsyncIterator[streams.Chunk[Embeddings]],
    body: EmbeddingsRequest,
    chunked: ChunkedInputs | None,
    context: RequestContext,
) -> Lines:
    """Yield a line for each embedding, then one with the usage; an error is the last line."""
    tokens, model, number = 0, "", 0
    try:
        with chunked.naming() if chunked else nullcontext():
            async for part in parts:
                answer = part.answer
                tokens += int(answer.token_counts.sum())
                model = body.model or answer.model
                vectors = quantize(answer.vectors, body.output_dtype)
                rows = _data(vectors, body.encoding_format, number)
                rows = rows if chunked is None else chunked.add_fields(rows, number)
                number += len(rows)
                yield json_lines(rows)
        yield json_lines([list_content(model, tokens)])
    except Exception as error:  # noqa: BLE001 - the status has been sent
        context.error = error
        yield json_lines([error_content(error)])


def _data(vectors: NDArray[Any], encoding: EncodingFormat, first: int = 0) -> list[dict[str, Any]]:
    """Return the embeddings of a response, of which the first has the number ``first``."""
    return [
        {"object": "embedding", "index": number, "embedding": row}
        for number, row in enumerate(rows_of(vectors, encoding), first)
    ]
