"""The tokenizer routes of text-embeddings-inference: texts to tokens, and ids to texts."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.responses import Response

from deployments.ingress.errors.responses import ErrorShape
from deployments.ingress.middleware.context import RequestContext
from deployments.ingress.routing.route import Routes
from deployments.ingress.service.service import Service
from deployments.ingress.tei.text_bodies import DecodeBody, Token, TokenizeBody
from deployments.ingress.wire.answer_size import check_size
from deployments.ingress.wire.inputs import check_count
from deployments.ingress.wire.json_bodies import json_response
from deployments.settings.access import Scope
from embedder.core.errors import LimitExceeded
from embedder.core.request import EmbedOptions
from embedder.core.types import Input
from embedder.models.prompts import select_prompt
from embedder.settings.model import LimitSettings

TOKEN_BYTES = 80
"""Bytes of a token in a response; a text rarely has more tokens than characters."""

routes = Routes("text-embeddings-inference", ErrorShape.TEI)


@routes.add("POST", "/tokenize", scope=Scope.READ, response=list[list[Token]])
async def tokenize(body: TokenizeBody, service: Service, context: RequestContext) -> Response:
    """List the tokens of texts, with their offsets in the text with its prompt."""
    connection = await service.models.get(body.model, context.deadline)
    prompt = select_prompt(EmbedOptions(prompt_name=body.prompt_name), connection.info)
    whole = [prompt + text for text in body.inputs]
    _check_sizes("inputs", whole, service.settings.limits)
    check_size("inputs", sum(map(len, whole)) * TOKEN_BYTES, service.settings.limits)
    rows = await connection.tokenizer.tokenize_with_offsets(
        whole, add_special_tokens=body.add_special_tokens, deadline=context.deadline
    )
    return await json_response(map(iter, rows))


@routes.add("POST", "/decode", scope=Scope.READ, response=list[str])
async def decode(body: DecodeBody, service: Service, context: RequestContext) -> Response:
    """Return the texts of token ids."""
    _check_sizes("ids", body.ids, service.settings.limits)
    connection = await service.models.get(body.model, context.deadline)
    texts = await connection.tokenizer.decode(
        body.ids, skip_special_tokens=body.skip_special_tokens, deadline=context.deadline
    )
    return await json_response(texts)


def _check_sizes(field: str, items: Sequence[Input], limits: LimitSettings) -> None:
    """Check the limits before anything is sent to a tokenizer.

    Raises:
        LimitExceeded: there are too many items, or items are too long.
    """
    unit = "characters" if field == "inputs" else "token ids"
    check_count(field, len(items), limits.max_inputs)
    for row, item in enumerate(items):
        if len(item) > limits.max_characters:
            raise LimitExceeded(f"{field}[{row}]", unit, len(item), limits.max_characters)
    # A text rarely has more tokens than characters.
    total = sum(map(len, items))
    if total > limits.max_request_tokens:
        raise LimitExceeded(field, f"{unit} in all", total, limits.max_request_tokens)
