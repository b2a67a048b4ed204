"""How a route gets at the service of its application, and at the request as the gate saw it.

Coroutines, because FastAPI sends plain functions to a thread, which costs a request more.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request

from deployments.ingress.middleware.visit import Visit
from deployments.ingress.service.service import Service
from deployments.settings import Scope


async def service_of(request: Request) -> Service:
    """Return the service that the application was built on."""
    service = request.app.state.service
    assert isinstance(service, Service)
    return service


async def visit_of(request: Request) -> Visit:
    """Return the visit that the gate began for a request."""
    visit = request.scope["state"]["visit"]
    assert isinstance(visit, Visit)
    return visit


ServiceHere = Annotated[Service, Depends(service_of)]
VisitHere = Annotated[Visit, Depends(visit_of)]


class Needs:
    """A dependency of routes: the key of a request must have this scope."""

    def __init__(self, scope: Scope) -> None:
        self.scope = scope

    async def __call__(self, visit: VisitHere) -> None:
        """Refuse a key without the scope."""
        visit.require(self.scope)
