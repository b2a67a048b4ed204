"""Fields that several routes share, in requests and responses."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    WithJsonSchema,
    model_validator,
)
from pydantic.config import JsonDict
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError

from deployments.ingress.errors.responses import UNKNOWN_FIELD
from embedder.core.request import EmbedOptions
from embedder.core.types import InputType, Priority, Truncate

PriorityName = Literal["interactive", "bulk"]

InputTypeName = Literal[
    "query",
    "document",
    "passage",
    "search_query",
    "search_document",
    "classification",
    "clustering",
]

INPUT_TYPES: Mapping[str, InputType] = {
    "query": InputType.QUERY,
    "document": InputType.DOCUMENT,
    "passage": InputType.DOCUMENT,
    "search_query": InputType.QUERY,
    "search_document": InputType.DOCUMENT,
    "classification": InputType.CLASSIFICATION,
    "clustering": InputType.CLUSTERING,
}
"""The kinds of texts by our names and those of NIM, Cohere and Voyage."""


def _end_of(given: Any) -> Any:
    return {True: "end", False: "none"}[given] if isinstance(given, bool) else given


_ENDS = ("end", "start", "none", "END", "START", "NONE")

TruncateName = Annotated[
    Literal["end", "start", "none", "END", "START", "NONE"],
    BeforeValidator(_end_of),
    WithJsonSchema({"enum": [*_ENDS, True, False]}),
]
"""The end of a text that is truncated; NIM and Cohere use capitals, and Jina booleans."""


def _object(given: Any) -> Any:
    if not isinstance(given, dict):
        raise PydanticCustomError("object_type", "must be an object")
    return given


JsonObject = Annotated[
    Any,
    AfterValidator(_object),
    WithJsonSchema({"type": "object", "additionalProperties": True}),
]
"""A JSON object that is not validated, because a million keys would block the event loop."""


def examples(*bodies: JsonDict) -> ConfigDict:
    """Return the configuration of a body whose description shows these examples."""
    return ConfigDict(json_schema_extra={"examples": [*bodies]})


LONGEST_NAME_SHOWN = 100
"""Characters of a client's field name that an error repeats."""


class NullAsAbsent(BaseModel):
    """Base of all objects in requests: null for an optional field means that it is absent."""

    @model_validator(mode="before")
    @classmethod
    def _given_fields(cls, given: Any) -> Any:
        has_null = isinstance(given, dict) and None in given.values()
        return _without_nulls(cls, given) if has_null else given

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """Describe every optional field as nullable."""
        schema = handler(core_schema)
        described = handler.resolve_ref_schema(schema)
        required = described.get("required", ())
        for name, field in described.get("properties", {}).items():
            if name not in required:
                described["properties"][name] = _nullable(field)
        return schema


def _without_nulls(body: type[BaseModel], given: dict[str, Any]) -> dict[str, Any]:
    """Return the given fields of a body without its optional fields that are null."""
    optional = {name for name, field in body.model_fields.items() if not field.is_required()}
    return {
        name: value for name, value in given.items() if value is not None or name not in optional
    }


def _nullable(field: JsonSchemaValue) -> JsonSchemaValue:
    """Return the schema of a field with null as a further alternative."""
    if {"type": "null"} in field.get("anyOf", ()):
        return field
    stated = ("title", "description", "default")
    outside = {name: value for name, value in field.items() if name in stated}
    inside = {name: value for name, value in field.items() if name not in stated}
    return {**outside, "anyOf": [inside, {"type": "null"}]}


class Body(NullAsAbsent):
    """Base of bodies in which unknown fields are refused, with a list of the known ones."""

    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _given_fields(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        known = cls.model_fields
        for name in given:
            if name not in known:
                raise _unknown(name, list(known))
        return _without_nulls(cls, given) if None in given.values() else given


def _unknown(name: str, known: list[str]) -> PydanticCustomError:
    """Return the error for an unknown field, with the most similar known field."""
    shown = name[:LONGEST_NAME_SHOWN]
    nearest = get_close_matches(shown, known, 1)
    meant = f"; did you mean '{nearest[0]}'?" if nearest else ";"
    # The names are in the context, because a brace in the template would be a placeholder.
    return PydanticCustomError(
        UNKNOWN_FIELD,
        "is not permitted here{meant} allowed: {allowed}",
        {"field": shown, "meant": meant, "allowed": ", ".join(known)},
    )


class ModelField(Body):
    """The field that names a model."""

    model: str | None = Field(None, description="a served model; default: the first one")


class EmbeddingFields(ModelField):
    """Fields for prompts, truncation, priority and the form of vectors."""

    input_type: InputTypeName | None = Field(
        None,
        description="the kind of the texts, which selects the model's prompt; passage and "
        "search_document are document, search_query is query",
    )
    prompt_name: str | None = Field(
        None, description="the name of a prompt of the model; not together with input_type"
    )
    truncate: TruncateName | None = Field(
        None,
        description="the end at which texts above the model's limit are truncated; none: they are "
        "refused; true is end and false none; default: as in the model's files",
    )
    priority: PriorityName = Field(
        "interactive",
        description="bulk requests let others go first for a while, and are refused later",
    )

    dimensions: int | None = Field(
        None, ge=1, strict=True, description="number of components to keep: a Matryoshka width"
    )
    normalize: bool = Field(
        True,
        strict=True,
        description="scale the vectors of texts to unit length; given vectors stay as they are",
    )

    def options(self) -> EmbedOptions:
        """Return the options of the pipeline."""
        truncate = Truncate(self.truncate.lower()) if self.truncate else None
        return EmbedOptions(
            prompt_name=self.prompt_name,
            input_type=INPUT_TYPES[self.input_type] if self.input_type else None,
            truncate=truncate,
            any_length=truncate in (Truncate.END, Truncate.START),
            dimensions=self.dimensions,
            normalize=self.normalize,
            priority=Priority[self.priority.upper()],
        )


class Usage(BaseModel):
    """Tokens of the inputs, special tokens included, cached or not."""

    prompt_tokens: int
    total_tokens: int
