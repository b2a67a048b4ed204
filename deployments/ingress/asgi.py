"""The HTTP application over a service: which routes there are, and what stands in front of them."""

from __future__ import annotations

from collections.abc import Iterator

from fastapi import APIRouter, Depends, FastAPI
from fastapi.routing import APIRoute
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

from deployments.ingress.collections import lifecycle, points, search
from deployments.ingress.description import documentation
from deployments.ingress.dispatch import Dispatch
from deployments.ingress.errors.errors import install_handlers
from deployments.ingress.middleware.request import RequestMiddleware
from deployments.ingress.numeric import clusters, similarity
from deployments.ingress.openai import embeddings, model_list
from deployments.ingress.operation import admin, health
from deployments.ingress.service.service import Service
from deployments.ingress.service.state import Needs
from deployments.ingress.tei import info, text, vectors
from deployments.settings.access import Scope

ROUTERS: tuple[tuple[APIRouter, Scope | None], ...] = (
    (embeddings.router, Scope.READ),
    (model_list.router, Scope.READ),
    (lifecycle.reading, Scope.READ),
    (lifecycle.writing, Scope.WRITE),
    (search.reading, Scope.READ),
    (points.writing, Scope.WRITE),
    (points.reading, Scope.READ),
    (similarity.router, Scope.READ),
    (clusters.router, Scope.READ),
    (admin.reading, Scope.READ),
    (admin.clearing, Scope.ADMIN),
    (documentation.router, Scope.READ),
    (vectors.router, Scope.READ),
    (text.router, Scope.READ),
    (info.router, Scope.READ),
    (info.health_router, None),
    (health.router, None),
)
"""Every route of the application, and the scope that a key must have for it; None is open."""


def routes() -> Iterator[tuple[APIRoute, Scope | None]]:
    """Return every route of the application, as its router has it, and the scope that it wants."""
    for router, scope in ROUTERS:
        yield from ((route, scope) for route in router.routes if isinstance(route, APIRoute))


def build_asgi(service: Service) -> ASGIApp:
    """Return the application that answers for ``service``, behind its gate."""
    app = Dispatch(build_routes(service), service, routes())
    gate = RequestMiddleware(app, service.settings, service.request_stats)
    origins = service.settings.cors_origins
    if not origins:
        return gate
    return CORSMiddleware(
        gate,
        allow_origins=origins,
        allow_methods=["*"],
        allow_headers=["*"],
        expose_headers=["*"],
        allow_private_network=service.settings.cors_private_network,
    )


def build_routes(service: Service) -> FastAPI:
    """Return the routes without `RequestMiddleware`, which has to run before them."""
    app = FastAPI(
        title="embedder",
        summary="Text in; vectors, similarities, clusters and nearest neighbours out.",
        docs_url=None,  # its page loads its script from elsewhere: `documentation` has its own
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,  # many clients do not follow: a 404 names the right address
    )
    app.state.service = service
    app.state.routes = [route for route, _ in routes()]
    app.state.scopes = {route.endpoint: scope for route, scope in routes()}
    install_handlers(app)
    for router, scope in ROUTERS:
        app.include_router(router, dependencies=[] if scope is None else [Depends(Needs(scope))])
    return app
