"""The bodies of text-embeddings-inference: what its clients send, and what its models answer.

Unknown fields are ignored, as there: its clients send more than the routes read. Knows nothing of
how any of it is computed.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

from deployments.ingress.middleware.context import RequestContext
from deployments.ingress.wire.fields import NullAsAbsent
from embedder.core.request import EmbedOptions
from embedder.core.types import Truncate

Direction = Literal["right", "left", "Right", "Left"]
_ENDS = {"right": Truncate.END, "left": Truncate.START}

_TEXT = {"type": "string", "minLength": 1}
_ID = {"type": "integer", "minimum": 0}
_IDS = {"type": "array", "items": _ID, "minItems": 1}

_MIXED: list[dict[str, Any]] = [
    _TEXT,
    _IDS,
    {"type": "array", "items": {"oneOf": [_TEXT, _IDS]}, "minItems": 1},
]

MixedField = Annotated[
    Any,
    WithJsonSchema(
        {
            "description": "A text, token ids of the model's vocabulary (special tokens "
            "included), or a list of such, which may be mixed.",
            "oneOf": _MIXED,
        }
    ),
]

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
                _IDS,
                {"type": "array", "items": {"type": "array", "items": _ID}, "minItems": 1},
            ],
        }
    ),
]

# Not enforced here: the pipeline's refusal of an empty text is in the words of the contract.
Text = Annotated[str, Field(json_schema_extra={"minLength": 1})]


class _Lenient(NullAsAbsent):
    model_config = ConfigDict(extra="ignore")


class _ModelField(_Lenient):
    model: str | None = Field(
        None, description="a served model; the first one where left out (an addition of ours)"
    )


class _CutFields(_Lenient):
    truncate: bool | None = Field(
        None, strict=True, description="cut what is above the model's limit; false refuses it"
    )
    truncation_direction: Direction | None = Field(
        None, description="which end is cut; left out: the end that the model's files name"
    )

    def options(self, context: RequestContext) -> EmbedOptions:
        """Return what these fields ask of the pipeline, within the request's time."""
        end = _ENDS[self.truncation_direction.lower()] if self.truncation_direction else None
        return EmbedOptions(
            truncate=Truncate.NONE if self.truncate is False else end,
            any_length=self.truncate is True,
            timeout_s=context.remaining_s(),
        )


class EmbedBody(_CutFields, _ModelField):
    """The body of ``POST /embed``."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"inputs": "What is deep learning?"},
                {"inputs": ["one", "two"], "truncate": True, "normalize": False},
            ]
        }
    )

    inputs: MixedField
    prompt_name: str | None = Field(
        None, description="puts the model's prompt of that name in front of texts"
    )
    normalize: bool = Field(True, strict=True, description="scale vectors to unit length")
    dimensions: int | None = Field(
        None, ge=1, strict=True, description="keep this many components: a Matryoshka width"
    )


class SimilarityInputs(_Lenient):
    """A sentence, and those that it is compared with."""

    source_sentence: Text
    sentences: list[Text] = Field(fail_fast=True, json_schema_extra={"minItems": 1})


EitherField = Annotated[
    Any,
    WithJsonSchema(
        {
            "description": "What /embed takes, or a sentence and those it is compared with.",
            "oneOf": [*_MIXED, SimilarityInputs.model_json_schema()],
        }
    ),
]


class SimilarityParameters(_CutFields):
    """How the sentences of a comparison are read."""

    prompt_name: str | None = Field(
        None, description="puts the model's prompt of that name in front of all sentences"
    )


class SimilarityBody(_ModelField):
    """The body of ``POST /similarity``."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "inputs": {
                        "source_sentence": "What is deep learning?",
                        "sentences": ["What is machine learning?", "Good night"],
                    },
                    "parameters": {"truncate": True},
                }
            ]
        }
    )

    inputs: SimilarityInputs
    parameters: SimilarityParameters | None = None


class EitherBody(EmbedBody):
    """The body of ``POST /``: that of ``/embed``, or of ``/similarity``."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"inputs": "What is deep learning?"},
                {
                    "inputs": {"source_sentence": "Good night", "sentences": ["Good evening"]},
                    "parameters": {"truncation_direction": "left"},
                },
            ]
        }
    )

    inputs: EitherField
    parameters: SimilarityParameters | None = Field(None, description="read beside sentences only")


class RerankBody(_CutFields, _ModelField):
    """The body of ``POST /rerank``."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "query": "What is deep learning?",
                    "texts": ["Deep learning is ...", "Cheese is ..."],
                    "return_text": True,
                }
            ]
        }
    )

    query: Text
    texts: list[Text] = Field(fail_fast=True, json_schema_extra={"minItems": 1})
    raw_scores: bool = Field(
        False, strict=True, description="answer the cosine; else (1 + cosine) / 2"
    )
    return_text: bool = Field(False, strict=True, description="answer the texts as well")


class Rank(BaseModel):
    """One text of a ranking: its number in the request, and how near it is."""

    index: int
    text: str | None = Field(None, description="left out unless asked for")
    score: float


class TokenizeBody(_ModelField):
    """The body of ``POST /tokenize``."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"inputs": "What is deep learning?"}]}
    )

    inputs: TextsField
    add_special_tokens: bool = Field(
        True, strict=True, description="add the tokens that the model reads around a text"
    )
    prompt_name: str | None = Field(
        None, description="puts the model's prompt of that name in front; places count from there"
    )


class Token(BaseModel):
    """One token and where it is in the text, in characters; an added one is nowhere."""

    id: int
    text: str
    special: bool
    start: int | None
    stop: int | None


class DecodeBody(_ModelField):
    """The body of ``POST /decode``."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"ids": [101, 7592, 102]}]})

    ids: IdsField
    skip_special_tokens: bool = Field(
        True, strict=True, description="leave out the tokens that stand around a text"
    )
