"""Clusters of texts or vectors, by k-means."""

from __future__ import annotations

from functools import partial
from typing import Any, Literal

from pydantic import Field
from starlette.responses import Response

from deployments.ingress.middleware.context import RequestContext
from deployments.ingress.routing.route import Routes
from deployments.ingress.service.numeric_work import compute
from deployments.ingress.service.service import Service
from deployments.ingress.wire.answer_size import VectorsSize, check_embeddings, check_size
from deployments.ingress.wire.fields import EmbeddingFields, examples
from deployments.ingress.wire.rows import (
    Matrices,
    RowsAnswer,
    RowsField,
    check_rows,
    to_matrices,
    vectors_width,
    width_of,
)
from deployments.settings.access import Scope
from embedder.core.errors import InvalidInput, LimitExceeded
from embedder.index.contract.response_budget import NUMBER_BYTES
from embedder.similarity.clustering import cluster, cluster_price

routes = Routes("similarity")

MAX_SEED = 2**31 - 1


class ClusterRequest(EmbeddingFields):
    """The body of ``POST /v1/cluster``."""

    model_config = examples(
        {"inputs": ["A cat sleeps.", "A kitten naps.", "Share prices fell."], "k": 2},
        {"inputs": [[0, 1], [0, 2], [9, 9]], "k": 2, "spherical": False},
    )

    inputs: RowsField
    k: int = Field(ge=1, strict=True, description="number of groups, at most the number of inputs")
    seed: int = Field(
        0, ge=0, le=MAX_SEED, strict=True, description="the same seed gives the same groups"
    )
    spherical: bool = Field(
        True, strict=True, description="group by cosine; else by Euclidean distance"
    )
    include: list[Literal["centroids"]] = Field(
        default_factory=list, fail_fast=True, description="additional fields of the response"
    )


class ClusterAnswer(RowsAnswer):
    """The group number of each input, and the size of each group.

    ``inertia`` is the sum of the squared distances of inputs to the centroids of their groups.
    """

    labels: list[int]
    sizes: list[int]
    inertia: float
    centroids: list[list[float]] | None = Field(None, description="present if ``include`` names it")


@routes.add("POST", "/v1/cluster", scope=Scope.READ, response=ClusterAnswer)
async def group(body: ClusterRequest, service: Service, context: RequestContext) -> Response:
    """Divide texts or vectors into ``k`` groups by k-means."""
    limits = service.settings.limits
    count = check_rows(body.inputs, "inputs", limits.max_inputs)
    if body.k > limits.max_clusters:
        raise LimitExceeded("k", "clusters", body.k, limits.max_clusters)
    if body.k > count:
        raise InvalidInput("k", f"is {body.k}, more than the {count} inputs")
    if "centroids" in body.include:
        await _check_centroids(body, service, context)
    price = cluster_price(count, body.k, width_of(service, body.model, body.inputs))
    with service.numeric_work.reserve(price, body.inputs, body.k, body.seed) as reserved:
        matrices = await to_matrices(service, context, body, {"inputs": body.inputs})
        content = await compute(context, "clusters", reserved, partial(_answer, body, matrices))
        return await matrices.respond(content)


async def _check_centroids(body: ClusterRequest, service: Service, context: RequestContext) -> None:
    """Check the size of the centroids before anything is embedded.

    Raises:
        LimitExceeded: the response would be too large.
    """
    width = vectors_width(body.inputs)
    if width is None:
        await check_embeddings(service, context, body, VectorsSize("k", body.k))
    else:
        check_size("k", body.k * width * NUMBER_BYTES, service.settings.limits)


def _answer(body: ClusterRequest, matrices: Matrices) -> dict[str, Any]:
    found = cluster(matrices.of_lists[0], body.k, seed=body.seed, spherical=body.spherical)
    content: dict[str, Any] = {
        "labels": found.labels,
        "sizes": found.sizes,
        "inertia": found.inertia,
    }
    if "centroids" in body.include:
        content["centroids"] = found.centroids
    return content
