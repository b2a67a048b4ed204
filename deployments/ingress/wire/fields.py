"""The fields that every route which embeds shares, in requests and responses."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    WithJsonSchema,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError

from deployments.ingress.errors.responses import UNKNOWN_FIELD
from deployments.ingress.middleware.context import RequestContext
from embedder.core.request import EmbedOptions
from embedder.core.types import InputType, Priority, Truncate

PriorityName = Literal["interactive", "bulk"]

InputTypeName = Literal["query", "document", "passage", "search_query", "search_document"]

INPUT_TYPES: Mapping[str, InputType] = {
    "query": InputType.QUERY,
    "document": InputType.DOCUMENT,
    "passage": InputType.DOCUMENT,
    "search_query": InputType.QUERY,
    "search_document": InputType.DOCUMENT,
}
"""What NIM, Cohere and Voyage call the kinds of texts, beside our own names."""

TruncateName = Literal["end", "start", "none", "END", "START", "NONE"]
"""The ends of a text that may be cut; NIM and Cohere write them in capitals."""


def _object(given: Any) -> Any:
    if not isinstance(given, dict):
        raise PydanticCustomError("object_type", "must be an object")
    return given


JsonObject = Annotated[
    Any,
    AfterValidator(_object),
    WithJsonSchema({"type": "object", "additionalProperties": True}),
]
"""An object of JSON as it is: a look at each of a million keys would hold up all other requests."""

LONGEST_NAME_SHOWN = 100
"""Characters of a client's field name that an error repeats."""


class NullAsAbsent(BaseModel):
    """Base of every object in a request: null for an optional field is the same as no field."""

    @model_validator(mode="before")
    @classmethod
    def _drop_nulls(cls, given: Any) -> Any:
        if not isinstance(given, dict) or None not in given.values():
            return given
        optional = {name for name, field in cls.model_fields.items() if not field.is_required()}
        return {
            name: value
            for name, value in given.items()
            if value is not None or name not in optional
        }

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """Describe every optional field as one that may be null."""
        schema = handler(core_schema)
        described = handler.resolve_ref_schema(schema)
        required = described.get("required", ())
        for name, field in described.get("properties", {}).items():
            if name not in required:
                described["properties"][name] = _nullable(field)
        return schema


def _nullable(field: JsonSchemaValue) -> JsonSchemaValue:
    """Return the schema of a field with null as a further choice; its description stays outside."""
    if {"type": "null"} in field.get("anyOf", ()):
        return field
    stated = ("title", "description", "default")
    outside = {name: value for name, value in field.items() if name in stated}
    inside = {name: value for name, value in field.items() if name not in stated}
    return {**outside, "anyOf": [inside, {"type": "null"}]}


class Body(NullAsAbsent):
    """Base of the bodies: unknown fields are refused, with the list of those that are known."""

    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown(cls, given: Any) -> Any:
        if isinstance(given, dict):
            for name in given:
                if name not in cls.model_fields:
                    raise _unknown(name, list(cls.model_fields))
        return given


def _unknown(name: str, known: list[str]) -> PydanticCustomError:
    """Return the complaint of a field that a body does not have, with the nearest that it has."""
    shown = name[:LONGEST_NAME_SHOWN]
    nearest = get_close_matches(shown, known, 1)
    meant = f"; did you mean '{nearest[0]}'?" if nearest else ";"
    # Through the context: a brace in the template would be read as a place for a value.
    return PydanticCustomError(
        UNKNOWN_FIELD,
        "is not permitted here{meant} allowed: {allowed}",
        {"field": shown, "meant": meant, "allowed": ", ".join(known)},
    )


class ModelField(Body):
    """Which model is meant."""

    model: str | None = Field(None, description="a served model; the first one where left out")


class PromptFields(ModelField):
    """What is put in front of texts, and what is cut from them."""

    input_type: InputTypeName | None = Field(
        None,
        description="what texts are for: puts the model's prompt for that in front; passage and "
        "search_document are document, search_query is query",
    )
    prompt_name: str | None = Field(
        None, description="puts the model's prompt of that name in front; not beside input_type"
    )
    truncate: TruncateName | None = Field(
        None,
        description="which end of a text above the model's limit is cut; none refuses; left out: "
        "the end that the model's files name",
    )
    priority: PriorityName = Field(
        "interactive", description="bulk lets others go first for a while, and is refused later"
    )

    def options(
        self, context: RequestContext, *, dimensions: int | None = None, normalize: bool = True
    ) -> EmbedOptions:
        """Return what these fields ask of the pipeline, within the request's time."""
        truncate = Truncate(self.truncate.lower()) if self.truncate else None
        return EmbedOptions(
            prompt_name=self.prompt_name,
            input_type=INPUT_TYPES[self.input_type] if self.input_type else None,
            truncate=truncate,
            any_length=truncate in (Truncate.END, Truncate.START),
            dimensions=dimensions,
            normalize=normalize,
            priority=Priority[self.priority.upper()],
            timeout_s=context.remaining_s(),
        )


class Usage(BaseModel):
    """Tokens that the model read, special tokens included, cached or not."""

    prompt_tokens: int
    total_tokens: int
