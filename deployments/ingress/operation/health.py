"""Whether this process lives, and whether every stage behind it answers."""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import BaseModel
from starlette.responses import Response

from deployments.ingress.state import ServiceHere

router = APIRouter(tags=["health"])


class ReadinessAnswer(BaseModel):
    """Each stage's name with ``ready``, or with what is wrong with it.

    The service is ready without its cache, which only saves time.
    """

    ready: bool
    stages: dict[str, str]


@router.get("/healthz")
async def alive() -> dict[str, str]:
    """Answer while the ingress lives, whatever the other stages do."""
    return {"status": "alive"}


@router.get("/readyz", responses={503: {"model": ReadinessAnswer}})
async def ready(response: Response, service: ServiceHere) -> ReadinessAnswer:
    """Answer 200 when every stage but the cache has just answered a real question, else 503."""
    readiness = await service.readiness()
    if not readiness.ready:
        response.status_code = 503
    return ReadinessAnswer(ready=readiness.ready, stages=dict(readiness.stages))
