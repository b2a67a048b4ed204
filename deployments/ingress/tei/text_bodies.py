"""The bodies of the tokenizer routes of text-embeddings-inference."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

from deployments.ingress.tei.bodies import ModelBody
from deployments.ingress.wire.inputs import ID, IDS

TextsField = Annotated[
    Any,
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

IdsField = Annotated[
    Any,
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

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"inputs": "What is deep learning?"}]}
    )

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

    model_config = ConfigDict(json_schema_extra={"examples": [{"ids": [101, 7592, 102]}]})

    ids: IdsField
    skip_special_tokens: bool = Field(True, strict=True, description="leave out special tokens")
