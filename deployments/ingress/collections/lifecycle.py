"""Collections as such: made, listed, described and deleted. Knows nothing of points."""

from __future__ import annotations

from dataclasses import asdict

from fastapi import APIRouter

from deployments.ingress.collections.bodies import CollectionAnswer, CollectionBody
from deployments.ingress.service.state import ContextDependency, ServiceDependency
from deployments.ingress.wire.json_bodies import OrjsonRoute
from embedder.index.contract.points import CollectionInfo, Spec

reading = APIRouter(prefix="/v1/collections", route_class=OrjsonRoute, tags=["collections"])
writing = APIRouter(prefix="/v1/collections", route_class=OrjsonRoute, tags=["collections"])


@reading.get("")
async def list_collections(
    service: ServiceDependency, context: ContextDependency
) -> dict[str, list[CollectionAnswer]]:
    """List all collections."""
    infos = await service.index.collections(context.deadline)
    return {"collections": [_answer(info) for info in infos]}


@writing.put("/{name}")
async def create_collection(
    name: str, body: CollectionBody, service: ServiceDependency, context: ContextDependency
) -> CollectionAnswer:
    """Create a collection; one that exists and was made with the same is left as it is."""
    service.check_model(body.model)
    width = body.width
    if width is None and len(service.index.shards) > 1:
        # No shard sees every vector, so the first one cannot decide for all.
        width = (await service.model(body.model, deadline=context.deadline)).width
    spec = Spec(body.metric, body.index, width, body.model)
    return _answer(await service.index.create(name, spec, context.deadline))


@reading.get("/{name}")
async def describe_collection(
    name: str, service: ServiceDependency, context: ContextDependency
) -> CollectionAnswer:
    """Describe a collection."""
    return _answer(await service.index.describe(name, context.deadline))


@writing.delete("/{name}", status_code=204)
async def delete_collection(
    name: str, service: ServiceDependency, context: ContextDependency
) -> None:
    """Delete a collection with all its points."""
    await service.index.delete(name, context.deadline)


def _answer(info: CollectionInfo) -> CollectionAnswer:
    fields = asdict(info)
    return CollectionAnswer(index=fields.pop("kind"), **fields)
