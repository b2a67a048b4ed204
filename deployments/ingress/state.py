"""How a route gets at the service of its application."""

from __future__ import annotations

from fastapi import Request

from deployments.ingress.service import Service


async def service_of(request: Request) -> Service:
    """Return the service that the application was built on.

    A coroutine because FastAPI sends plain functions to a thread, which costs a request more.
    """
    service = request.app.state.service
    assert isinstance(service, Service)
    return service
