"""How a route gets at the service of its application, and at the request as the gate saw it.

Coroutines, because FastAPI sends plain functions to a thread, which costs a request more.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request

from deployments.ingress.middleware.context import RequestContext
from deployments.ingress.service.service import Service
from deployments.settings.access import Scope


async def service_of(request: Request) -> Service:
    """Return the service that the application was built on."""
    service = request.app.state.service
    assert isinstance(service, Service)
    return service


async def context_of(request: Request) -> RequestContext:
    """Return the context that the gate began for a request."""
    context = request.scope["state"]["context"]
    assert isinstance(context, RequestContext)
    return context


ServiceDependency = Annotated[Service, Depends(service_of)]
ContextDependency = Annotated[RequestContext, Depends(context_of)]


class Needs:
    """A dependency of routes: the key of a request must have this scope."""

    def __init__(self, scope: Scope) -> None:
        self.scope = scope

    async def __call__(self, context: ContextDependency) -> None:
        """Refuse a key without the scope."""
        context.require(self.scope)
