"""Results of several kinds on OpenAI's embeddings route: dense, sparse and multi-vector."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any

from starlette.responses import Response, StreamingResponse

from deployments.ingress.errors.responses import error_content
from deployments.ingress.middleware.context import RequestContext
from deployments.ingress.openai import streams
from deployments.ingress.openai.chunked_inputs import ChunkedInputs, chunked_inputs
from deployments.ingress.openai.embedding_bodies import KINDS, EmbeddingsRequest, OutputType
from deployments.ingress.service.service import Service
from deployments.ingress.wire.answer_size import check_size, component_bytes
from deployments.ingress.wire.formats import Format, negotiate, rows_of, timing_headers
from deployments.ingress.wire.json_bodies import json_lines, json_response
from deployments.ingress.wire.json_chunks import Divided, line_chunks
from deployments.ingress.wire.output_rows import (
    OutputBytes,
    check_expected,
    sparse_objects,
    token_vectors,
)
from deployments.ingress.wire.quantization import OutputDtype, check_quantizable, quantize
from deployments.rpc.cooperative_yield import YIELD_BYTES
from embedder.core.errors import InvalidInput
from embedder.core.outputs import OutputKind, RaggedRows
from embedder.core.request import Outputs

CHUNK = 8
"""Inputs of one chunk of a stream: each may have a vector for each of thousands of tokens."""

_ONE_BYTE = (OutputDtype.INT8, OutputDtype.UINT8)


async def answer_outputs(
    body: EmbeddingsRequest, types: Sequence[OutputType], service: Service, context: RequestContext
) -> Response:
    """Return the results of these types for every input.

    Raises:
        InvalidInput: an option does not apply to these types or to the format of the response.
        LimitExceeded: the response would be too large.
        EmbedderError: as `Service.outputs_of`.
    """
    kind = negotiate(context.headers.get(b"accept", b""))
    _check(body, types, kind)
    kinds = [KINDS[one] for one in dict.fromkeys(types)]
    connection = await service.connection(body.model, kinds, context.deadline)
    limits = service.settings.limits
    chunked = None
    if body.chunking is not None:
        chunked = await chunked_inputs(body, body.chunking, connection, limits, context)
    inputs = body.input if chunked is None else chunked.inputs
    options, deadline = body.options(), context.deadline
    compute = partial(
        service.outputs_of, connection, kinds=kinds, options=options, deadline=deadline
    )
    sizes = OutputBytes(component_bytes(body.output_dtype, kind, body.encoding_format))
    with chunked.naming() if chunked else nullcontext():
        if kind is Format.NDJSON:
            wanted = streams.Request(compute, inputs, deadline, limits.max_inputs, CHUNK)
            parts = await streams.begin(wanted)
            return StreamingResponse(_lines(parts, body, chunked, context), media_type=kind.value)
        check_expected(connection.info, kinds, inputs, sizes, "input", limits)
        answer = await compute(inputs)
    size = sizes.of_rows(answer.rows)
    check_size("input", size, limits)
    rows = map(Divided, _rows(answer, body, chunked))
    content = list_content(body.model or answer.model, _tokens(answer), data=rows)
    response = await json_response(content, size)
    response.raw_headers += timing_headers(answer)
    return response


def list_content(model: str, tokens: int, **rest: Any) -> dict[str, Any]:
    """Return the content of a response, or of the last line of a stream."""
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return {"object": "list", **rest, "model": model, "usage": usage}


def _check(body: EmbeddingsRequest, types: Sequence[OutputType], kind: Format) -> None:
    """Check that the options apply to all types of output.

    Raises:
        InvalidInput: one does not.
    """
    if kind not in (Format.JSON, Format.NDJSON):
        raise InvalidInput(
            "output_types", f"needs a response of JSON; the header Accept asks for {kind.value}"
        )
    if body.dimensions is not None and "dense" not in types:
        raise InvalidInput("dimensions", "applies to dense vectors, which output_types leaves out")
    if body.chunking is not None and body.chunking.late:
        problem = "applies to dense vectors alone; output_types names others"
        raise InvalidInput("chunking.late", problem)
    check_quantizable(body.output_dtype, body.normalize)
    if body.output_dtype in _ONE_BYTE and "multi_vector" in types:
        raise InvalidInput(
            "output_dtype",
            f"is {body.output_dtype.value}, whose range is that of normalised vectors, which token "
            "vectors need not be",
        )


async def _lines(
    parts: AsyncIterator[streams.Chunk[Outputs]],
    body: EmbeddingsRequest,
    chunked: ChunkedInputs | None,
    context: RequestContext,
) -> AsyncIterator[bytes]:
    """Yield a line for each input, then one with the usage; an error is the last line."""
    tokens, model = 0, ""
    try:
        with chunked.naming() if chunked else nullcontext():
            async for part in parts:
                answer = part.answer
                tokens, model = tokens + _tokens(answer), body.model or answer.model
                for lines in line_chunks(_rows(answer, body, chunked, part.first), YIELD_BYTES):
                    yield lines
                    await asyncio.sleep(0)
        yield json_lines([list_content(model, tokens)])
    except Exception as error:  # noqa: BLE001 - the status has been sent
        context.error = error
        yield json_lines([error_content(error)])


def _rows(
    answer: Outputs, body: EmbeddingsRequest, chunked: ChunkedInputs | None, first: int = 0
) -> Iterator[dict[str, Any]]:
    """Yield the results of each input, of which the first has the number ``first``."""
    dtype, encoding = body.output_dtype, body.encoding_format
    columns: dict[str, Iterator[Any]] = {}
    for kind, found in answer.rows.items():
        if not isinstance(found, RaggedRows):
            columns["embedding"] = iter(rows_of(quantize(found, dtype), encoding))
        elif kind is OutputKind.SPARSE:
            columns["sparse_embedding"] = sparse_objects(found)
        else:
            columns["multi_vector"] = token_vectors(found, dtype, encoding)
    for number in range(first, first + len(answer.token_counts)):
        place = {} if chunked is None else chunked.fields[number]
        results = {name: next(column) for name, column in columns.items()}
        yield {"object": "embedding", "index": number, **results, **place}


def _tokens(answer: Outputs) -> int:
    return int(answer.token_counts.sum())
