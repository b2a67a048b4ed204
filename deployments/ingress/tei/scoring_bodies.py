"""The bodies of text-embeddings-inference for scores: of a ranking, and of classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, PlainValidator, WithJsonSchema

from deployments.ingress.errors.http_errors import EmptyInput
from deployments.ingress.ranking.ranking_request import METHOD, MethodName
from deployments.ingress.tei.bodies import CutFields, LenientBody, ModelBody, Text
from deployments.ingress.wire.fields import examples
from deployments.ingress.wire.inputs import TEXT
from embedder.core.errors import InvalidInput
from embedder.core.pairs import Pair


class RerankBody(CutFields, ModelBody):
    """The body of ``POST /rerank``."""

    model_config = examples(
        {
            "query": "What is deep learning?",
            "texts": ["Deep learning is ...", "Cheese is ..."],
            "return_text": True,
        }
    )

    query: Text
    texts: list[Text] = Field(fail_fast=True, json_schema_extra={"minItems": 1})
    raw_scores: bool = Field(
        False,
        strict=True,
        description="return the numbers of the model, or cosines; else scores are in [0, 1]",
    )
    return_text: bool = Field(False, strict=True, description="return the texts too")
    method: MethodName = Field(
        "cross-encoder", description=f"{METHOD} (not in text-embeddings-inference)"
    )


class Rank(BaseModel):
    """One text of a ranking: its number in the request, and its score."""

    index: int
    text: str | None = Field(None, description="present with return_text")
    score: float


@dataclass(frozen=True, slots=True)
class Sequences:
    """The texts and pairs of a request; ``is_batch`` False: it has one, outside of a list."""

    rows: list[str | Pair]
    is_batch: bool


def to_sequences(value: Any) -> Sequences:
    """Convert a text, a pair of texts, or a list of lists of one or two texts.

    Raises:
        EmptyInput: it is an empty list.
        InvalidInput: it is of another type, or a list in it has another number of texts.
    """
    if isinstance(value, str):
        return Sequences([value], is_batch=False)
    if value == []:
        raise EmptyInput("inputs")
    if not isinstance(value, list):
        raise InvalidInput("inputs", "must be a text, a pair of texts, or a list of such lists")
    if not isinstance(value[0], list):
        return Sequences([_sequence("inputs", value)], is_batch=False)
    rows = [_sequence(f"inputs[{row}]", item) for row, item in enumerate(value)]
    return Sequences(rows, is_batch=True)


def _sequence(name: str, texts: Any) -> str | Pair:
    if not isinstance(texts, list) or not 0 < len(texts) <= 2:
        raise InvalidInput(name, "must be a list of one text, or of the two texts of a pair")
    for at, text in enumerate(texts):
        if not isinstance(text, str):
            raise InvalidInput(f"{name}[{at}]", "must be a string")
    return Pair(*texts) if len(texts) == 2 else str(texts[0])


_LIST = {"type": "array", "items": TEXT, "minItems": 1, "maxItems": 2}

SequencesField = Annotated[
    Sequences,
    PlainValidator(to_sequences),
    WithJsonSchema(
        {
            "description": "A text, a pair of texts, or a list of lists of one or two texts.",
            "oneOf": [TEXT, _LIST, {"type": "array", "items": _LIST, "minItems": 1}],
        }
    ),
]


class ClassificationParameters(LenientBody):
    """What clients of the Hugging Face Hub send beside a text."""

    function_to_apply: Literal["sigmoid", "softmax", "none"] | None = Field(
        None, description="in place of the usual one"
    )
    top_k: int | None = Field(None, ge=1, strict=True, description="the most labels per text")


class PredictBody(CutFields, ModelBody):
    """The body of ``POST /predict``."""

    model_config = examples(
        {"inputs": "I like you."},
        {"inputs": [["I like you."], ["A cat sleeps.", "An animal rests."]], "raw_scores": True},
    )

    inputs: SequencesField
    raw_scores: bool = Field(
        False,
        strict=True,
        description="return the numbers of the model; else one label gets a sigmoid, and several "
        "a softmax",
    )
    parameters: ClassificationParameters | None = Field(
        None,
        description="of clients of the Hugging Face Hub, whose answer is a list of lists also for "
        "one text (not in text-embeddings-inference)",
    )


class Prediction(BaseModel):
    """The score of one label."""

    score: float
    label: str
