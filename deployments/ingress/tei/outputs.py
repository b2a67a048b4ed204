"""The routes of text-embeddings-inference for sparse weights and for token vectors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pydantic import BaseModel
from starlette.responses import Response

from deployments.ingress.errors.responses import ErrorShape
from deployments.ingress.middleware.context import RequestContext
from deployments.ingress.routing.route import Routes
from deployments.ingress.service.service import Service
from deployments.ingress.tei.bodies import InputsBody
from deployments.ingress.tei.headers import compute_headers
from deployments.ingress.wire.answer_size import check_size
from deployments.ingress.wire.field_names import rename_input_errors
from deployments.ingress.wire.json_bodies import json_response
from deployments.ingress.wire.output_rows import (
    INDEX_VALUE_BYTES,
    OutputBytes,
    check_expected,
    index_values,
    token_vectors,
)
from deployments.settings.access import Scope
from embedder.core.outputs import OutputKind, RaggedRows
from embedder.index.contract.response_budget import NUMBER_BYTES

routes = Routes("text-embeddings-inference", ErrorShape.TEI)

SIZES = OutputBytes(NUMBER_BYTES, INDEX_VALUE_BYTES)


class SparseValue(BaseModel):
    """The weight of one id of the model's vocabulary."""

    index: int
    value: float


@routes.add("POST", "/embed_sparse", scope=Scope.READ, response=list[list[SparseValue]])
async def embed_sparse(body: InputsBody, service: Service, context: RequestContext) -> Response:
    """Compute the sparse weights of texts or token ids; only weights above 0, by ascending ids."""
    return await _answer(body, service, context, OutputKind.SPARSE, index_values)


@routes.add("POST", "/embed_all", scope=Scope.READ, response=list[list[list[float]]])
async def embed_all(body: InputsBody, service: Service, context: RequestContext) -> Response:
    """Compute a vector for each token of texts or token ids, by a multi-vector model.

    Which tokens have one, special tokens among them, depends on the model.
    """
    return await _answer(body, service, context, OutputKind.TOKENS, token_vectors)


async def _answer(
    body: InputsBody,
    service: Service,
    context: RequestContext,
    kind: OutputKind,
    written: Callable[[RaggedRows], Any],
) -> Response:
    """Return the rows of one kind, as ``written`` gives them for JSON.

    Raises:
        LimitExceeded: the response would be too large.
        EmbedderError: as `Service.outputs_of`.
    """
    limits = service.settings.limits
    connection = await service.connection(body.model, [kind], context.deadline)
    with rename_input_errors("inputs"):
        check_expected(connection.info, [kind], body.inputs, SIZES, "inputs", limits)
        answer = await service.outputs_of(
            connection, body.inputs, [kind], body.options(), context.deadline
        )
    size = SIZES.of_rows(answer.rows)
    check_size("inputs", size, limits)
    rows = answer.rows[kind]
    assert isinstance(rows, RaggedRows)
    response = await json_response(written(rows), size)
    characters = sum(map(len, body.inputs))
    response.raw_headers += compute_headers(context, connection.info, answer, characters)
    return response
