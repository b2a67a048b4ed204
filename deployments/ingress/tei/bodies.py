"""The bodies of text-embeddings-inference: requests and responses.

Unknown fields are ignored, because its clients send fields that these routes do not use.
"""

from __future__ import annotations

from dataclasses import replace
from types import UnionType
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, PlainValidator, WithJsonSchema

from deployments.ingress.errors.http_errors import EmptyInput
from deployments.ingress.wire.fields import NullAsAbsent, examples
from deployments.ingress.wire.inputs import IDS, TEXT, to_inputs
from embedder.core.errors import InvalidInput
from embedder.core.request import EmbedOptions
from embedder.core.types import Input, Truncate

Direction = Literal["right", "left", "Right", "Left"]
_ENDS = {"right": Truncate.END, "left": Truncate.START}

_MIXED: list[dict[str, Any]] = [
    TEXT,
    IDS,
    {"type": "array", "items": {"oneOf": [TEXT, IDS]}, "minItems": 1},
]


def to_items(
    value: Any, *, field: str = "inputs", kind: type | UnionType = object, expected: str = ""
) -> list[Any]:
    """Convert one item or a list of items of one kind.

    Raises:
        EmptyInput: it is an empty list.
        InvalidInput: an item is of another kind.
    """
    if value == []:
        raise EmptyInput(field)
    items = to_inputs(value, field=field)
    for row, item in enumerate(items):
        if not isinstance(item, kind):
            raise InvalidInput(f"{field}[{row}]", f"must be {expected}")
    return items


def _to_items_or_comparison(value: Any) -> Any:
    return value if isinstance(value, dict) else to_items(value)


MixedField = Annotated[
    list[Input],
    PlainValidator(to_items),
    WithJsonSchema(
        {
            "description": "A text, token ids of the model's vocabulary (special tokens "
            "included), or a list of such, which may be mixed.",
            "oneOf": _MIXED,
        }
    ),
]

# Not enforced here, because clients may look for the words in which the pipeline refuses it.
Text = Annotated[str, Field(json_schema_extra={"minLength": 1})]


class LenientBody(NullAsAbsent):
    """Base of bodies in which unknown fields are ignored."""

    model_config = ConfigDict(extra="ignore")


class ModelBody(LenientBody):
    """The field that names a model."""

    model: str | None = Field(
        None,
        description="a served model; default: the first one for the task (not in "
        "text-embeddings-inference)",
    )


class CutFields(LenientBody):
    """The fields for truncation."""

    truncate: bool | None = Field(
        None, strict=True, description="truncate texts above the model's limit; false refuses them"
    )
    truncation_direction: Direction | None = Field(
        None, description="the end to truncate; default: as in the model's files"
    )

    def options(self) -> EmbedOptions:
        """Return the options of the pipeline."""
        end = _ENDS[self.truncation_direction.lower()] if self.truncation_direction else None
        return EmbedOptions(
            truncate=Truncate.NONE if self.truncate is False else end,
            any_length=self.truncate is True,
        )


class InputsBody(CutFields, ModelBody):
    """The body of ``POST /embed_sparse`` and ``POST /embed_all``."""

    model_config = examples(
        {"inputs": "What is deep learning?"}, {"inputs": ["one", "two"], "truncate": True}
    )

    inputs: MixedField
    prompt_name: str | None = Field(
        None, description="the name of a prompt of the model, which is put before texts"
    )

    def options(self) -> EmbedOptions:
        """Return the options of the pipeline."""
        return replace(super().options(), prompt_name=self.prompt_name)


class EmbedBody(InputsBody):
    """The body of ``POST /embed``."""

    model_config = examples(
        {"inputs": "What is deep learning?"},
        {"inputs": ["one", "two"], "truncate": True, "normalize": False},
    )

    normalize: bool = Field(True, strict=True, description="scale vectors to unit length")
    dimensions: int | None = Field(
        None, ge=1, strict=True, description="number of components to keep: a Matryoshka width"
    )


class SimilarityInputs(LenientBody):
    """A sentence, and the sentences with which it is compared."""

    source_sentence: Text
    sentences: list[Text] = Field(fail_fast=True, json_schema_extra={"minItems": 1})


EitherField = Annotated[
    Any,
    PlainValidator(_to_items_or_comparison),
    WithJsonSchema(
        {
            "description": "As for /embed, or a sentence and those with which it is compared.",
            "oneOf": [*_MIXED, SimilarityInputs.model_json_schema()],
        }
    ),
]


class SimilarityParameters(CutFields):
    """The truncation and the prompt of compared sentences."""

    prompt_name: str | None = Field(
        None, description="the name of a prompt of the model, which is put before all sentences"
    )


class SimilarityBody(ModelBody):
    """The body of ``POST /similarity``."""

    model_config = examples(
        {
            "inputs": {
                "source_sentence": "What is deep learning?",
                "sentences": ["What is machine learning?", "Good night"],
            },
            "parameters": {"truncate": True},
        }
    )

    inputs: SimilarityInputs
    parameters: SimilarityParameters | None = None


class EitherBody(EmbedBody):
    """The body of ``POST /``: as for ``/embed`` or ``/similarity``."""

    model_config = examples(
        {"inputs": "What is deep learning?"},
        {
            "inputs": {"source_sentence": "Good night", "sentences": ["Good evening"]},
            "parameters": {"truncation_direction": "left"},
        },
    )

    inputs: EitherField
    parameters: SimilarityParameters | None = Field(None, description="used only with sentences")
