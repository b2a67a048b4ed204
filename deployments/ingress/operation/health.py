"""Whether this process lives, and whether every stage behind it answers."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel
from starlette.responses import Response

from deployments.ingress.service.readiness import Capability, Level
from deployments.ingress.service.state import ServiceDependency

router = APIRouter(tags=["health"])


class ReadinessAnswer(BaseModel):
    """The level of each capability, and each stage's name with ``ready`` or its problem.

    ``ready`` is true where every required capability is ``ready`` or ``degraded``. No capability
    needs the cache, which only saves time.
    """

    ready: bool
    capabilities: dict[Capability, Level]
    stages: dict[str, str]


@router.get("/healthz")
async def alive() -> dict[str, str]:
    """Answer while the ingress lives, whatever the other stages do."""
    return {"status": "alive"}


@router.get("/readyz", responses={503: {"model": ReadinessAnswer}})
async def ready(
    response: Response,
    service: ServiceDependency,
    require: Annotated[
        list[Capability], Query(description="the capabilities that the caller needs")
    ] = [Capability.EMBEDDINGS],  # noqa: B006 - FastAPI copies it
) -> ReadinessAnswer:
    """Answer 200 when every required capability can be used, else 503.

    All probes within a second share one question to each stage.
    """
    readiness = await service.readiness()
    is_ready = readiness.has(require)
    if not is_ready:
        response.status_code = 503
    return ReadinessAnswer(
        ready=is_ready,
        capabilities=dict(readiness.capabilities),
        stages={name: state.text for name, state in readiness.stages.items()},
    )
