"""A client of routes that a test declares, behind the middleware of every request."""

from __future__ import annotations

import httpx

from deployments.ingress.middleware.request import RequestMiddleware
from deployments.ingress.routing.route import Routes
from deployments.ingress.routing.router import Router
from tests.unit.deployments.ingress.fake_service import FakeService


def client_of(routes: Routes) -> httpx.AsyncClient:
    """Return a client of these routes over a fake service."""
    service = FakeService()
    app = RequestMiddleware(
        Router(routes, service).answer,
        service.settings,
        service.keys,
        service.request_stats,
        service.large_bodies,
        {},
    )
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://test")
