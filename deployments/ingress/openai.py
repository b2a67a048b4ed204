"""OpenAI's embeddings API: ``/v1/embeddings`` and ``/v1/models``.

Reads and writes that contract; knows nothing of how vectors are made.
"""

from __future__ import annotations

import base64
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from deployments.ingress.body import OrjsonRoute, json_response
from deployments.ingress.inputs import InputField, to_inputs
from deployments.ingress.models import ServedState
from deployments.ingress.service import Connection, Service
from deployments.ingress.state import service_of
from embedder.config import ModelSettings
from embedder.models.catalogue import find
from embedder.request import EmbedOptions
from embedder.types import ModelInfo, Vectors

router = APIRouter(route_class=OrjsonRoute, tags=["openai"])

CREATED = 1_755_000_000
"""The API wants a date of creation of every model; ours have none, and this one never changes."""


class EmbeddingsRequest(BaseModel):
    """The body of ``POST /v1/embeddings``."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"model": "all-MiniLM-L6-v2", "input": "hello world"}]},
    )

    input: InputField
    model: str | None = Field(None, description="the served model where it is left out")
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = Field(None, ge=1, strict=True, description="keep this many components")
    user: str | None = Field(None, description="accepted and not used")


class Embedding(BaseModel):
    """One vector of an answer; in base64 it is little-endian float32."""

    object: Literal["embedding"]
    index: int
    embedding: list[float] | str


class Usage(BaseModel):
    """Tokens that the model read, special tokens included, cached or not."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingsResponse(BaseModel):
    """The answer of ``POST /v1/embeddings``."""

    object: Literal["list"]
    data: list[Embedding]
    model: str
    usage: Usage


class Model(BaseModel):
    """A served model; what follows ``owned_by`` is known once it has been loaded."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    state: Literal["ready", "not loaded", "loading", "changing", "failed"]
    problem: str | None = Field(None, description="why it is not what is configured")
    revision: str | None = None
    dimensions: int | None = None
    matryoshka: list[int] | None = Field(None, description="widths it was trained to be cut to")
    max_input_tokens: int | None = None
    pooling: str | None = None
    similarity: str | None = None
    prompts: dict[str, str] | None = None
    backend: str | None = None
    device: str | None = None
    dtype: str | None = None
    notes: list[str] | None = Field(None, description="what was decided while loading")


class ModelList(BaseModel):
    """The answer of ``GET /v1/models``."""

    object: Literal["list"]
    data: list[Model]


ServiceHere = Annotated[Service, Depends(service_of)]


@router.post("/v1/embeddings", response_model=EmbeddingsResponse)
async def create_embeddings(body: EmbeddingsRequest, service: ServiceHere) -> Response:
    """Embed texts or token ids."""
    answer = await service.embed(
        to_inputs(body.input), EmbedOptions(dimensions=body.dimensions), model=body.model
    )
    total = int(answer.token_counts.sum())
    response = json_response(
        {
            "object": "list",
            "data": [
                {"object": "embedding", "index": index, "embedding": vector}
                for index, vector in enumerate(_encoded(answer.vectors, body.encoding_format))
            ],
            "model": answer.model,
            "usage": {"prompt_tokens": total, "total_tokens": total},
        }
    )
    truncated = int(answer.truncated.sum())
    if truncated:
        response.headers["x-truncated-inputs"] = str(truncated)
    return response


@router.get("/v1/models", response_model=ModelList)
async def list_models(service: ServiceHere) -> Response:
    """List the served models."""
    return json_response({"object": "list", "data": [_model(one) for one in service.models()]})


@router.get("/v1/models/{name:path}", response_model=Model)
async def get_model(name: str, service: ServiceHere) -> Response:
    """Describe one model by its alias or its repository."""
    return json_response(_model(service.described(name)))


def _model(state: ServedState[Connection]) -> dict[str, Any]:
    answer: dict[str, Any] = {
        "id": state.name,
        "object": "model",
        "created": CREATED,
        "owned_by": _owner(state.settings),
        "state": state.state,
    }
    if state.problem is not None:
        answer["problem"] = "the configured model could not be loaded; the log says why"
    if state.serving is not None:
        answer.update(_details(state.serving.pipeline.model))
    return answer


def _owner(settings: ModelSettings) -> str:
    """Return who published a model; the path of a directory is the operator's own affair."""
    row = find(settings.name)
    if row is None and settings.revision is None:
        return "local"
    return (row.repository if row else settings.name).partition("/")[0]


def _details(model: ModelInfo) -> dict[str, Any]:
    return {
        "revision": model.revision,
        "dimensions": model.width,
        "matryoshka": list(model.matryoshka),
        "max_input_tokens": model.max_tokens,
        "pooling": model.pooling,
        "similarity": model.similarity,
        "prompts": dict(model.prompts),
        "backend": model.backend,
        "device": model.device,
        "dtype": model.dtype,
        "notes": list(model.notes),
    }


def _encoded(vectors: Vectors, encoding_format: str) -> list[Any]:
    if encoding_format == "float":
        return list(vectors)
    little_endian = np.ascontiguousarray(vectors, "<f4")
    return [base64.b64encode(row.tobytes()).decode() for row in little_endian]
