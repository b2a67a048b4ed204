"""The bodies of the tokenizer routes of text-embeddings-inference."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Annotated

import numpy as np
from pydantic import BaseModel, Field, PlainValidator, WithJsonSchema

from deployments.ingress.tei.bodies import ModelBody, to_items
from deployments.ingress.wire.fields import examples
from deployments.ingress.wire.inputs import ID, IDS

TextsField = Annotated[
    list[str],
    PlainValidator(partial(to_items, kind=str, expected="a string")),
    WithJsonSchema(
        {
            "description": "A text or a list of texts.",
            "oneOf": [
                {"type": "string"},
                {"type": "array", "items": {"type": "string"}, "minItems": 1},
            ],
        }
    ),
]

_ID_LISTS = partial(to_items, field="ids", kind=np.ndarray | list, expected="a list of token ids")
IdsField = Annotated[
    list[Sequence[int]],
    PlainValidator(_ID_LISTS),
    WithJsonSchema(
        {
            "description": "Token ids of the model's vocabulary, or a list of such.",
            "oneOf": [
                IDS,
                {"type": "array", "items": {"type": "array", "items": ID}, "minItems": 1},
            ],
        }
    ),
]


class TokenizeBody(ModelBody):
    """The body of ``POST /tokenize``."""

    model_config = examples({"inputs": "What is deep learning?"})

    inputs: TextsField
    add_special_tokens: bool = Field(
        True, strict=True, description="add the special tokens of the model"
    )
    prompt_name: str | None = Field(
        None, description="the name of a prompt of the model; offsets include the prompt"
    )


class Token(BaseModel):
    """One token with its offsets in characters; an added token has no offsets."""

    id: int
    text: str
    special: bool
    start: int | None
    stop: int | None


class DecodeBody(ModelBody):
    """The body of ``POST /decode``."""

    model_config = examples({"ids": [101, 7592, 102]})

    ids: IdsField
    skip_special_tokens: bool = Field(True, strict=True, description="leave out special tokens")
