"""OpenAI's embeddings API, with additions: prompts, truncation, number formats, streams."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import nullcontext
from typing import Any, Literal

from numpy.typing import NDArray
from pydantic import BaseModel, Field
from starlette.responses import Response, StreamingResponse

from deployments.ingress.errors.responses import error_content
from deployments.ingress.middleware.context import RequestContext
from deployments.ingress.openai import streams
from deployments.ingress.openai.chunked_inputs import ChunkedInputs, check_format
from deployments.ingress.openai.jina_fields import JINA_FIELDS, JinaFields, with_own_fields
from deployments.ingress.routing.route import Routes
from deployments.ingress.service.service import Service
from deployments.ingress.wire.answer_size import VectorsSize, check_embeddings, component_bytes
from deployments.ingress.wire.chunking import Chunking, ChunkRange
from deployments.ingress.wire.fields import Usage, examples
from deployments.ingress.wire.formats import (
    EncodingFormat,
    Format,
    binary_response,
    negotiate,
    rows_of,
    timing_headers,
)
from deployments.ingress.wire.inputs import InputField
from deployments.ingress.wire.json_bodies import json_lines, json_response
from deployments.ingress.wire.quantization import OutputDtype, check_quantizable, quantize
from deployments.settings.access import Scope

Lines = AsyncIterator[bytes]

routes = Routes("openai")


class EmbeddingsRequest(JinaFields):
    """The body of ``POST /v1/embeddings``."""

    model_config = examples(
        {"model": "all-MiniLM-L6-v2", "input": "hello world"},
        {"input": ["one", "two"], "input_type": "document", "output_dtype": "int8"},
        {"input": "a long text", "chunking": {"size": 64, "boundaries": "sentences"}},
    )

    input: InputField
    chunking: Chunking | None = Field(
        None, description="split each text into chunks, of which each gets a vector; JSON only"
    )
    user: str | None = Field(None, description="accepted and not used")


class InputChunk(ChunkRange):
    """The chunk of a vector; ``input`` is the number of its text in the request."""

    input: int


class Embedding(BaseModel):
    """One vector of a response, as numbers or as base64 of its little-endian bytes."""

    object: Literal["embedding"]
    index: int
    embedding: list[float] | str
    chunk: InputChunk | None = Field(None, description="only if the request has chunking")


class EmbeddingsResponse(BaseModel):
    """The response of ``POST /v1/embeddings``."""

    object: Literal["list"]
    data: list[Embedding]
    model: str
    usage: Usage


@routes.add("POST", "/embeddings", "/v1/embeddings", scope=Scope.READ, response=EmbeddingsResponse)
async def create_embeddings(
    body: EmbeddingsRequest, service: Service, context: RequestContext
) -> Response:
    """Embed texts or token ids.

    The ``Accept`` header selects JSON, lines of JSON as results are ready, or the bytes of all
    vectors.
    """
    if not JINA_FIELDS.isdisjoint(body.model_fields_set):
        body = with_own_fields(body)
    dtype, encoding = body.output_dtype, body.encoding_format
    if dtype is not OutputDtype.FLOAT32:
        check_quantizable(dtype, body.normalize)
    options = body.options()
    kind = negotiate(context.headers.get(b"accept", b""))
    chunked = None
    if body.chunking is not None:
        check_format(kind)
        chunked = await _chunked(body, body.chunking, service, context)
    inputs = body.input if chunked is None else chunked.inputs
    if kind is Format.NDJSON:
        wanted = streams.Request(service, inputs, options, body.model, context)
        with chunked.naming() if chunked else nullcontext():
            parts = await streams.begin(wanted)
        return StreamingResponse(_lines(parts, body, chunked, context), media_type=kind.value)
    component = component_bytes(dtype, kind, encoding)
    with chunked.naming() if chunked else nullcontext():
        await check_embeddings(service, context, body, VectorsSize("input", len(inputs), component))
        answer = await service.embed(inputs, options, context.deadline, model=body.model)
    vectors = answer.vectors if dtype is OutputDtype.FLOAT32 else quantize(answer.vectors, dtype)
    if kind is Format.JSON:
        tokens = int(answer.token_counts.sum())
        data = _data(vectors, encoding)
        data = data if chunked is None else chunked.add_fields(data)
        content = _list_content(answer.model, tokens, data=data)
        response = await json_response(content, answer.vectors.size * component)
    else:
        response = binary_response(vectors, kind)
    response.headers.update(timing_headers(answer))
    return response


async def _chunked(
    body: EmbeddingsRequest, chunking: Chunking, service: Service, context: RequestContext
) -> ChunkedInputs:
    options, deadline = body.options(), context.deadline
    return await ChunkedInputs.of(body.input, chunking, options, body.model, service, deadline)


async def _lines(
    parts: AsyncIterator[streams.Chunk],
    body: EmbeddingsRequest,
    chunked: ChunkedInputs | None,
    context: RequestContext,
) -> Lines:
    """Yield a line for each embedding, then one with the usage; an error is the last line."""
    tokens, model = 0, ""
    try:
        with chunked.naming() if chunked else nullcontext():
            async for part in parts:
                answer = part.answer
                tokens, model = tokens + int(answer.token_counts.sum()), answer.model
                vectors = quantize(answer.vectors, body.output_dtype)
                rows = _data(vectors, body.encoding_format, part.first)
                rows = rows if chunked is None else chunked.add_fields(rows, part.first)
                yield json_lines(rows)
        yield json_lines([_list_content(model, tokens)])
    except Exception as error:  # noqa: BLE001 - the status has been sent
        context.error = error
        yield json_lines([error_content(error)])


def _data(vectors: NDArray[Any], encoding: EncodingFormat, first: int = 0) -> list[dict[str, Any]]:
    """Return the embeddings of a response, of which the first has the number ``first``."""
    return [
        {"object": "embedding", "index": number, "embedding": row}
        for number, row in enumerate(rows_of(vectors, encoding), first)
    ]


def _list_content(model: str, tokens: int, **rest: Any) -> dict[str, Any]:
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return {"object": "list", **rest, "model": model, "usage": usage}
