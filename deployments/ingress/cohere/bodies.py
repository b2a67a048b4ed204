"""The bodies of Cohere's embed route: requests and responses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

from pydantic import BaseModel, Field

from deployments.ingress.wire.fields import INPUT_TYPES, ModelField, NullAsAbsent, examples
from embedder.core.errors import InvalidInput
from embedder.core.request import EmbedOptions
from embedder.core.types import Priority, Truncate

EmbeddingType = Literal["float", "int8", "uint8", "binary", "ubinary", "base64"]


class TextContent(NullAsAbsent):
    """A text in an input."""

    type: Literal["text"]
    text: str


class MixedInput(NullAsAbsent):
    """The parts of one input, which are embedded together, one below the other."""

    content: list[TextContent] = Field(min_length=1)


class EmbedBody(ModelField):
    """The body of ``POST /v2/embed``."""

    model_config = examples(
        {
            "model": "all-MiniLM-L6-v2",
            "input_type": "search_document",
            "texts": ["one", "two"],
            "embedding_types": ["float", "int8"],
        },
        {"inputs": [{"content": [{"type": "text", "text": "one"}]}]},
    )

    texts: list[str] | None = Field(
        None, min_length=1, fail_fast=True, description="the texts to embed"
    )
    inputs: list[MixedInput] | None = Field(
        None, min_length=1, fail_fast=True, description="texts in parts; in place of texts"
    )
    images: list[str] | None = Field(None, description="refused: the models read texts")
    input_type: (
        Literal["search_document", "search_query", "classification", "clustering"] | None
    ) = Field(
        None,
        description="the kind of the texts, which selects the model's prompt; default: none is put "
        "before the texts unless the model has a default prompt",
    )
    embedding_types: list[EmbeddingType] | None = Field(
        None, min_length=1, description="the forms of each vector; default: float"
    )
    output_dimension: int | None = Field(
        None, ge=1, strict=True, description="number of components to keep: a Matryoshka width"
    )
    truncate: Literal["NONE", "START", "END"] = Field(
        "END", description="the end at which texts above the limit are cut; NONE: they are refused"
    )
    max_tokens: int | None = Field(
        None,
        ge=1,
        strict=True,
        description="tokens of a text from which it is cut; not below the model's limit",
    )
    priority: int = Field(
        0,
        ge=0,
        le=999,
        strict=True,
        description="above 0: bulk, which lets other requests go first",
    )

    @property
    def dimensions(self) -> int | None:
        """Return the number of components to keep."""
        return self.output_dimension

    def options(self) -> EmbedOptions:
        """Return the options of the pipeline."""
        truncate = Truncate(self.truncate.lower())
        return EmbedOptions(
            input_type=INPUT_TYPES[self.input_type] if self.input_type else None,
            truncate=truncate,
            any_length=truncate is not Truncate.NONE,
            dimensions=self.output_dimension,
            priority=Priority.BULK if self.priority else Priority.INTERACTIVE,
        )

    def given_texts(self) -> tuple[Sequence[str], str, Callable[[int], str]]:
        """Return the texts, the field that has them, and the place of each in errors.

        Raises:
            InvalidInput: there are images, both lists of texts, or none.
        """
        if self.images:
            raise InvalidInput("images", "cannot be embedded: the served models read texts")
        if self.texts is not None and self.inputs is not None:
            raise InvalidInput("inputs", "cannot stand beside 'texts'")
        if self.texts is not None:
            return self.texts, "texts", lambda row: f"texts[{row}]"
        if self.inputs is None:
            raise InvalidInput("texts", "is missing; give 'texts' or 'inputs'")
        joined = ["\n".join(part.text for part in one.content) for one in self.inputs]
        return joined, "inputs", lambda row: f"inputs[{row}].content"


class EmbeddingsByType(BaseModel):
    """The vectors in the requested forms, each in the order of the texts."""

    float_: list[list[float]] | None = Field(None, alias="float")
    int8: list[list[int]] | None = None
    uint8: list[list[int]] | None = None
    binary: list[list[int]] | None = Field(None, description="eight components in each number")
    ubinary: list[list[int]] | None = Field(None, description="eight components in each number")
    base64: list[str] | None = Field(None, description="little-endian float32")


class ApiVersion(BaseModel):
    """The version of Cohere's API."""

    version: Literal["1", "2"]


class BilledUnits(BaseModel):
    """Tokens of the inputs, special tokens included, cached or not."""

    input_tokens: int


class Meta(BaseModel):
    """The version and the tokens of a response."""

    api_version: ApiVersion
    billed_units: BilledUnits


class _Answer(BaseModel):
    id: str = Field(description="the id of the request, which the log has")
    texts: list[str]
    meta: Meta


class EmbedAnswer(_Answer):
    """The response of ``POST /v2/embed``."""

    response_type: Literal["embeddings_by_type"]
    embeddings: EmbeddingsByType


class FloatsAnswer(_Answer):
    """The response of ``POST /v1/embed`` to a request without ``embedding_types``."""

    response_type: Literal["embeddings_floats"]
    embeddings: list[list[float]]
