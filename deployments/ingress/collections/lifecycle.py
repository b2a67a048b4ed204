"""The routes that list, create, describe and delete collections."""

from __future__ import annotations

from dataclasses import asdict

from starlette.responses import Response

from deployments.ingress.collections.bodies import (
    CollectionAnswer,
    CollectionBody,
    CollectionName,
    ReadConsistency,
)
from deployments.ingress.middleware.context import RequestContext
from deployments.ingress.routing.route import Routes
from deployments.ingress.service.service import Service
from deployments.settings.access import Scope
from embedder.core.outputs import Task
from embedder.index.contract.points import CollectionInfo, Spec

routes = Routes("collections")


@routes.add("GET", "/v1/collections", scope=Scope.READ)
async def list_collections(
    service: Service, context: RequestContext, consistency: ReadConsistency = "latest"
) -> dict[str, list[CollectionAnswer]]:
    """List the collections that the key includes."""
    infos = await service.index.reading(consistency).collections(context.deadline)
    return {"collections": [_answer(info) for info in infos if context.may_reach(info.name)]}


@routes.add("PUT", "/v1/collections/{name}", scope=Scope.WRITE)
async def create_collection(
    name: CollectionName, body: CollectionBody, service: Service, context: RequestContext
) -> CollectionAnswer:
    """Create a collection; an existing one with the same settings stays as it is."""
    service.models.check(body.model, Task.EMBED)
    width = body.width
    if width is None and len(service.index.shards) > 1:
        # No shard has all vectors, so the first vector cannot set the width.
        width = (await service.model(body.model, task=Task.EMBED, deadline=context.deadline)).width
    spec = Spec(body.metric, body.index, width, body.model)
    return _answer(await service.index.create(name, spec, context.deadline))


@routes.add("GET", "/v1/collections/{name}", scope=Scope.READ)
async def describe_collection(
    name: CollectionName,
    service: Service,
    context: RequestContext,
    consistency: ReadConsistency = "latest",
) -> CollectionAnswer:
    """Describe a collection."""
    return _answer(await service.index.reading(consistency).describe(name, context.deadline))


@routes.add("DELETE", "/v1/collections/{name}", scope=Scope.WRITE, status=204)
async def delete_collection(
    name: CollectionName, service: Service, context: RequestContext
) -> Response:
    """Delete a collection with all its points."""
    await service.index.delete(name, context.deadline)
    return Response(status_code=204, media_type="application/json")


def _answer(info: CollectionInfo) -> CollectionAnswer:
    fields = asdict(info)
    return CollectionAnswer(index=fields.pop("kind"), **fields)
