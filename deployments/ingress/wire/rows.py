"""Converts lists of texts and vectors to matrices; the texts of all lists are embedded together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, Field, WithJsonSchema
from starlette.responses import Response

from deployments.ingress.middleware.context import RequestContext
from deployments.ingress.middleware.large_bodies import convert_body
from deployments.ingress.service.service import Service
from deployments.ingress.wire.field_names import rename_input_errors
from deployments.ingress.wire.fields import EmbeddingFields, Usage
from deployments.ingress.wire.formats import timing_headers
from deployments.ingress.wire.inputs import (
    BASE64,
    NUMBERS,
    TEXT,
    check_count,
    to_vector,
    to_vectors,
)
from deployments.ingress.wire.json_bodies import json_response
from embedder.core.errors import InvalidInput, InvalidVector
from embedder.core.outputs import Task
from embedder.core.request import Embeddings, EmbedOptions, concatenate
from embedder.core.types import Vectors

_LIST = {
    "type": "array",
    "minItems": 1,
    "items": {
        "oneOf": [
            {**TEXT, "description": "a text"},
            {**NUMBERS, "description": "a vector"},
            {
                "type": "object",
                "description": "a vector, where it is not given as numbers: as little-endian "
                "float32 in base64",
                "properties": {"vector": {"oneOf": [NUMBERS, BASE64]}},
                "required": ["vector"],
                "additionalProperties": False,
            },
        ]
    },
}
_MEANING = "Texts and vectors, which may be mixed; all vectors have the same width."

USUAL_WIDTH = 384
"""The assumed width of a model that has not loaded."""

RowsField = Annotated[Any, WithJsonSchema({**_LIST, "description": _MEANING})]
OptionalRowsField = Annotated[
    Any, WithJsonSchema({"anyOf": [_LIST, {"type": "null"}], "description": _MEANING})
]


class RowsAnswer(BaseModel):
    """The fields of a response about such lists that concern the texts."""

    model: str | None = Field(description="what has embedded the texts; null where there are none")
    usage: Usage


@dataclass(frozen=True, slots=True)
class Matrices:
    """A float32[n, d] for each list, in order; ``answer`` is None if there were no texts."""

    of_lists: list[Vectors]
    answer: Embeddings | None

    async def respond(self, content: Mapping[str, Any]) -> Response:
        """Return a response with this content and the fields about the texts."""
        answer = self.answer
        tokens = 0 if answer is None else int(answer.token_counts.sum())
        response = await json_response(
            {
                **content,
                "model": None if answer is None else answer.model,
                "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
            }
        )
        response.raw_headers += [] if answer is None else timing_headers(answer)
        return response


def check_rows(value: Any, field: str, limit: int) -> int:
    """Return the number of rows in a list.

    Raises:
        LimitExceeded: it has more than ``limit``.
        InvalidInput: it is not a list, or empty.
    """
    if not isinstance(value, list):
        raise InvalidInput(field, "must be a list of texts or vectors")
    check_count(field, len(value), limit)
    return len(value)


def vectors_width(items: Sequence[Any]) -> int | None:
    """Return the width of the first vector of a list; None if all items are texts.

    The numbers are not checked, because this runs on the event loop.
    """
    first = next((item for item in items if not isinstance(item, str)), None)
    if first is None:
        return None
    vector = first.get("vector") if isinstance(first, dict) else first
    if isinstance(vector, str):
        return len(vector) * 3 // 4 // 4
    return len(vector) if isinstance(vector, list) else 0


def width_of(service: Service, model: str | None, items: Sequence[Any]) -> int:
    """Return the estimated width of the vectors of a list, for their price."""
    width = vectors_width(items)
    if width is not None:
        return width
    serving = service.models.state(model, Task.EMBED).serving
    return USUAL_WIDTH if serving is None else serving.info.width


async def to_matrices(
    service: Service,
    context: RequestContext,
    body: EmbeddingFields,
    lists: Mapping[str, Sequence[Any]],
) -> Matrices:
    """Return a matrix for each list, by field; `check_rows` must have checked the lists.

    Raises:
        InvalidVector: a vector is invalid, or the widths differ.
        EmbedderError: as `Service.embed`, with the field names of the client.
    """
    service.models.check(body.model, Task.EMBED)
    named = {
        f"{field}[{row}]": item for field, items in lists.items() for row, item in enumerate(items)
    }
    texts = {name: item for name, item in named.items() if isinstance(item, str)}
    rows: dict[str, Vectors] = {}
    for field, items in lists.items():
        rows.update(await convert_body(context, _vectors, field, items))
    answer: Embeddings | None = None
    if texts:
        answer = await _embed(service, context, texts, body.options(), body.model)
        rows.update(zip(texts, answer.vectors, strict=True))
    matrix = _stacked({name: rows[name] for name in named})
    ends = np.cumsum([len(items) for items in lists.values()])
    return Matrices(np.split(matrix, ends[:-1]), answer)


def _vectors(field: str, items: Sequence[Any]) -> dict[str, Vectors]:
    """Return the vectors among the items of a list, by their names."""
    if all(isinstance(item, list) for item in items):  # much faster
        return {f"{field}[{row}]": one for row, one in enumerate(to_vectors(items, field))}
    return {
        f"{field}[{row}]": _vector(item, f"{field}[{row}]")
        for row, item in enumerate(items)
        if not isinstance(item, str)
    }


def _vector(item: Any, name: str) -> Vectors:
    if isinstance(item, list):
        return to_vector(item, name)
    if isinstance(item, dict) and item.keys() == {"vector"}:
        return to_vector(item["vector"], f"{name}.vector")
    raise InvalidInput(name, "must be a text, a list of numbers, or an object with a vector alone")


def _stacked(rows: Mapping[str, Vectors]) -> Vectors:
    first, width = next((name, len(row)) for name, row in rows.items())
    for name, row in rows.items():
        if len(row) != width:
            raise InvalidVector(name, f"has {len(row)} components; {first} has {width}")
    return np.stack(list(rows.values()))


async def _embed(
    service: Service,
    context: RequestContext,
    texts: Mapping[str, str],
    options: EmbedOptions,
    model: str | None,
) -> Embeddings:
    """Embed the texts, at most ``max_inputs`` at a time."""
    inputs, names = list(texts.values()), list(texts)
    most = service.settings.limits.max_inputs
    whole = " and ".join(dict.fromkeys(name.partition("[")[0] for name in names))
    chunks: list[Embeddings] = []
    for start in range(0, len(inputs), most):
        chunk = inputs[start : start + most]
        with rename_input_errors(whole, names[start:].__getitem__):
            chunks.append(await service.embed(chunk, options, context.deadline, model=model))
    return concatenate(chunks)
