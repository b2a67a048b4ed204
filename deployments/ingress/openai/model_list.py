"""OpenAI's list of models, with the state and the description of each; loads no model."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import Path
from pydantic import BaseModel, Field
from starlette.responses import Response

from deployments.encoder.pool_model import PoolModelState
from deployments.ingress.routing.route import Routes
from deployments.ingress.service.connection import Connection
from deployments.ingress.service.models import ServedState
from deployments.ingress.service.service import Service
from deployments.ingress.wire.json_bodies import json_response
from deployments.settings.access import Scope
from embedder.core.outputs import OutputKind
from embedder.core.types import ModelInfo
from embedder.models.catalogue import find_row
from embedder.settings.model import ModelSettings

routes = Routes("openai")

CREATED = 1_755_000_000
"""OpenAI's API has a creation date for every model; this is a constant in its place."""


IN_POOL = ("backend", "device", "dtype")
"""What may differ between the pools of a model."""


class PoolModel(BaseModel):
    """A served model in one pool of encoders, as the ingress that answers knows it."""

    pool: str
    state: Literal["ready", "loading", "no replica", "failed"]
    backend: str | None = Field(None, description="absent until the pool has answered, as below")
    device: str | None = None
    dtype: str | None = None


class Model(BaseModel):
    """A served model; the fields from ``revision`` on are present once it has loaded."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    state: Literal["ready", "not loaded", "loading", "changing", "failed"]
    problem: str | None = Field(None, description="why the configured model does not serve")
    revision: str | None = None
    outputs: list[OutputKind] | None = Field(None, description="what the model computes")
    labels: list[str] | None = Field(None, description="of the scores, in their order")
    dimensions: int | None = None
    matryoshka: list[int] | None = Field(None, description="widths to which vectors can be cut")
    max_input_tokens: int | None = None
    pooling: str | None = None
    similarity: str | None = None
    prompts: dict[str, str] | None = None
    backend: str | None = None
    device: str | None = None
    dtype: str | None = None
    notes: list[str] | None = Field(None, description="decisions made while loading")
    pools: list[PoolModel] | None = Field(None, description="only with several pools of encoders")


class ModelList(BaseModel):
    """The response of ``GET /v1/models``."""

    object: Literal["list"]
    data: list[Model]


@routes.add("GET", "/v1/models", scope=Scope.READ, response=ModelList)
async def list_models(service: Service) -> Response:
    """List the served models."""
    return await json_response(
        {"object": "list", "data": [_model(one) for one in service.models.states()]}
    )


@routes.add("GET", "/v1/models/{name:path}", scope=Scope.READ, response=Model)
async def get_model(name: Annotated[str, Path()], service: Service) -> Response:
    """Describe one model by its alias or its repository."""
    return await json_response(_model(service.models.state(name)))


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
        answer.update(_details(state.serving.info))
        if not state.serving.encoder.alone:
            answer["pools"] = [_in_pool(one) for one in state.serving.encoder.states]
    return answer


def _in_pool(state: PoolModelState) -> dict[str, Any]:
    info = state.info
    known = {} if info is None else {name: getattr(info, name) for name in IN_POOL}
    return {"pool": state.deployment, "state": state.state, **known}


def _owner(settings: ModelSettings) -> str:
    """Return the publisher of a model; ``local`` for a directory, whose path stays private."""
    row = find_row(settings.name)
    if row is None and settings.revision is None:
        return "local"
    return (row.repository if row else settings.name).partition("/")[0]


def _details(model: ModelInfo) -> dict[str, Any]:
    return {
        "revision": model.revision,
        "outputs": model.outputs,
        "labels": model.labels,
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
