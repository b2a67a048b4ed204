"""The routes of text-embeddings-inference about the service: model, limits, health."""

from __future__ import annotations

from importlib.metadata import version
from typing import Annotated

from fastapi import Query
from pydantic import BaseModel, Field
from starlette.responses import Response

from deployments.ingress.errors.responses import ErrorShape, tei_envelope
from deployments.ingress.middleware.context import RequestContext
from deployments.ingress.routing.route import Routes
from deployments.ingress.service.readiness import Capability
from deployments.ingress.service.service import Service
from deployments.settings.access import Scope
from deployments.settings.service import IngressLimits, ServeSettings
from embedder.core.outputs import OutputKind
from embedder.core.types import ModelInfo

routes = Routes("text-embeddings-inference", ErrorShape.TEI)

VERSION = version("embedder")

POOLINGS = {"last": "last_token"}
"""The poolings that have another name in text-embeddings-inference."""


class EmbeddingKind(BaseModel):
    """How an embedding model pools."""

    pooling: str


class LabelsKind(BaseModel):
    """The labels of a model for scores, by number and number by label."""

    id2label: dict[str, str]
    label2id: dict[str, int]


class EmbeddingModel(BaseModel):
    """A model that computes vectors."""

    embedding: EmbeddingKind


class Reranker(BaseModel):
    """A cross-encoder with one label."""

    reranker: LabelsKind


class ClassifierModel(BaseModel):
    """A model that classifies texts."""

    classifier: LabelsKind


ModelKind = EmbeddingModel | Reranker | ClassifierModel


class Info(BaseModel):
    """The response of ``GET /info``."""

    model_id: str
    model_sha: str | None = Field(description="the published commit; null for a directory")
    model_dtype: str
    served_model_name: str
    model_type: ModelKind
    max_concurrent_requests: int | None = Field(
        description="always null: limits.max_queued_tokens bounds requests"
    )
    max_input_length: int = Field(description="tokens, special ones included")
    max_batch_tokens: int
    max_batch_requests: int | None
    max_client_batch_size: int
    auto_truncate: bool
    tokenization_workers: int
    version: str
    sha: str | None
    docker_label: str | None
    limits: IngressLimits = Field(
        description="every limit of a request (not in text-embeddings-inference)"
    )


@routes.add("GET", "/info", scope=Scope.READ)
async def info(
    service: Service,
    context: RequestContext,
    model: Annotated[
        str | None, Query(description="a served model; default: the first one")
    ] = None,
) -> Info:
    """Describe a served model and the limits of a request; loads the model if necessary."""
    served = await service.model(model, deadline=context.deadline)
    return describe(served, service.settings)


@routes.add("GET", "/health", "/ping", "/", scope=None)
async def health(service: Service) -> Response:
    """Answer 200 and no body if embeddings can be computed, else 503.

    The cache and the index are not required.
    """
    if (await service.readiness()).has([Capability.EMBEDDINGS]):
        return Response()
    return tei_envelope(503, "unhealthy", "Unhealthy")


def describe(model: ModelInfo, settings: ServeSettings) -> Info:
    """Return the description of a model and the limits in the settings."""
    return Info(
        model_id=model.repository,
        model_sha=None if model.revision == "local" else model.revision,
        model_dtype=model.dtype,
        served_model_name=model.name,
        model_type=_kind(model),
        max_concurrent_requests=None,
        max_input_length=model.max_tokens,
        max_batch_tokens=model.max_batch_tokens,
        max_batch_requests=settings.batching.max_items,
        max_client_batch_size=settings.limits.max_inputs,
        auto_truncate=True,
        tokenization_workers=settings.tokenizer.max_replicas,
        version=VERSION,
        sha=None,
        docker_label=None,
        limits=settings.limits,
    )


def _kind(model: ModelInfo) -> ModelKind:
    if OutputKind.SCORES not in model.outputs:
        pooling = POOLINGS.get(model.pooling, model.pooling)
        return EmbeddingModel(embedding=EmbeddingKind(pooling=pooling))
    labels = LabelsKind(
        id2label={str(number): label for number, label in enumerate(model.labels)},
        label2id={label: number for number, label in enumerate(model.labels)},
    )
    if len(model.labels) == 1:
        return Reranker(reranker=labels)
    return ClassifierModel(classifier=labels)
