"""Whether this process lives, and whether every stage behind it answers."""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import BaseModel
from starlette.responses import Response

from deployments.ingress.state import ServiceHere

router = APIRouter(tags=["health"])


class Readiness(BaseModel):
    """Each stage's name with ``ready``, or with what is wrong with it."""

    ready: bool
    stages: dict[str, str]


@router.get("/healthz")
async def alive() -> dict[str, str]:
    """Answer while the ingress lives, whatever the other stages do."""
    return {"status": "alive"}


@router.get("/readyz", responses={503: {"model": Readiness}})
async def ready(response: Response, service: ServiceHere) -> Readiness:
    """Answer 200 when every stage has just answered a real question, else 503."""
    stages = await service.readiness()
    everything = all(state == "ready" for state in stages.values())
    if not everything:
        response.status_code = 503
    return Readiness(ready=everything, stages=stages)
