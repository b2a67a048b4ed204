"""Fields of Jina's embeddings API, which mean the same as fields of this API."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal, TypeVar

from pydantic import Field

from deployments.ingress.wire.fields import EmbeddingFields, InputTypeName
from deployments.ingress.wire.formats import EncodingFormat
from deployments.ingress.wire.quantization import OutputDtype
from embedder.core.errors import InvalidInput

TaskName = Literal[
    "retrieval.query", "retrieval.passage", "text-matching", "classification", "separation"
]

TASKS: Mapping[TaskName, InputTypeName | None] = {
    "retrieval.query": "query",
    "retrieval.passage": "document",
    "text-matching": None,
    "classification": "classification",
    "separation": "clustering",
}
"""The input type of each task."""

TypeName = Literal["float", "base64", "int8", "uint8", "binary", "ubinary"]

JINA_FIELDS = frozenset({"task", "embedding_type", "encoding_type", "normalized", "late_chunking"})
"""The fields below, of which a request of another client has none."""


class JinaFields(EmbeddingFields):
    """The fields of both APIs for the form of vectors."""

    encoding_format: EncodingFormat = Field(
        "float", description="base64: the little-endian bytes of each vector"
    )
    output_dtype: OutputDtype = Field(
        OutputDtype.FLOAT32,
        description="the type of a component; binary types pack eight into a byte",
    )
    task: TaskName | None = Field(
        None,
        description="as input_type, by Jina's names: retrieval.query is query, retrieval.passage "
        "document, separation clustering, and text-matching none",
    )
    embedding_type: TypeName | None = Field(
        None, description="as output_dtype, or base64 as encoding_format; Jina's name"
    )
    encoding_type: TypeName | None = Field(
        None, description="as embedding_type; the name in LlamaIndex's client of Jina"
    )
    normalized: bool | None = Field(None, strict=True, description="as normalize; Jina's name")
    late_chunking: bool | None = Field(None, strict=True, description="only false: see chunking")


BodyT = TypeVar("BodyT", bound=JinaFields)


def with_own_fields(body: BodyT) -> BodyT:
    """Return the body with Jina's fields as fields of this API.

    Raises:
        InvalidInput: a field and the one that means the same are both given, or ``late_chunking``
            is true.
    """
    if body.late_chunking:
        raise InvalidInput(
            "late_chunking",
            "is true, but inputs are not read as one text; send the whole text with 'chunking'",
        )
    meant: dict[str, Any] = {}
    given_by = dict.fromkeys(body.model_fields_set - JINA_FIELDS)
    for jina, own, value in _meanings(body):
        if own in given_by:
            raise InvalidInput(jina, f"cannot stand beside {given_by[own] or own!r}")
        given_by[own], meant[own] = jina, value
    return body.model_copy(update=meant)


def _meanings(body: JinaFields) -> Iterator[tuple[str, str, Any]]:
    """Yield each given field of Jina with the field of this API and its value there."""
    if body.task is not None:
        yield "task", "input_type", TASKS[body.task]
    if body.normalized is not None:
        yield "normalized", "normalize", body.normalized
    for name, kind in (
        ("embedding_type", body.embedding_type),
        ("encoding_type", body.encoding_type),
    ):
        if kind == "base64":
            yield name, "encoding_format", kind
        elif kind is not None:
            yield name, "output_dtype", _dtype(kind)


def _dtype(kind: TypeName) -> OutputDtype:
    return OutputDtype.FLOAT32 if kind == "float" else OutputDtype(kind)
