"""The liveness and the readiness of the service."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query
from pydantic import BaseModel
from starlette.responses import Response

from deployments.ingress.routing.route import Routes
from deployments.ingress.service.readiness import Capability, Level
from deployments.ingress.service.service import Service

routes = Routes("health")


class ReadinessAnswer(BaseModel):
    """The level of each capability, and ``ready`` or the problem of each stage.

    ``ready`` is true if every required capability is ``ready`` or ``degraded``. No capability
    requires the cache.
    """

    ready: bool
    capabilities: dict[Capability, Level]
    stages: dict[str, str]


@routes.add("GET", "/healthz", scope=None)
async def alive() -> dict[str, str]:
    """Answer 200 as long as the ingress runs, whatever the state of the other stages."""
    return {"status": "alive"}


@routes.add(
    "GET",
    "/readyz",
    scope=None,
    response=ReadinessAnswer,
    other_responses={503: ReadinessAnswer},
)
async def ready(
    service: Service,
    require: Annotated[
        list[Capability], Query(description="the capabilities that the caller needs")
    ] = [Capability.EMBEDDINGS],  # noqa: B006 - never changed
) -> Response:
    """Answer 200 if every required capability can be used, else 503.

    Probes share one call to each stage for `KEEP_S` of `deployments.ingress.service.readiness`.
    """
    readiness = await service.readiness()
    is_ready = readiness.has(require)
    answer = ReadinessAnswer(
        ready=is_ready,
        capabilities=dict(readiness.capabilities),
        stages={name: state.text for name, state in readiness.stages.items()},
    )
    status = 200 if is_ready else 503
    return Response(answer.model_dump_json(), status, media_type="application/json")
