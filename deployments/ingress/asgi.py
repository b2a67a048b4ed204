"""The HTTP application over a service: its routes, and the middleware in front of them."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

from deployments.ingress.cohere import embed, rerank
from deployments.ingress.collections import lifecycle, points, search
from deployments.ingress.description.documentation import documentation_routes
from deployments.ingress.errors.responses import ERROR_CODES, ErrorShape
from deployments.ingress.middleware.request import RequestMiddleware
from deployments.ingress.middleware.tracing import TraceMiddleware
from deployments.ingress.numeric import clusters, similarity
from deployments.ingress.openai import embeddings, model_list
from deployments.ingress.operation import admin, health
from deployments.ingress.routing.route import Route
from deployments.ingress.routing.router import Router
from deployments.ingress.service.service import Service
from deployments.ingress.tei import info, outputs, scoring, text, vectors
from deployments.tracing.tracer import service_tracer

DESCRIBED_ROUTES: tuple[Route, ...] = tuple(
    chain(
        *(embeddings.routes, model_list.routes, lifecycle.routes, search.routes, points.routes),
        *(similarity.routes, clusters.routes, admin.routes),
        *(embed.routes, rerank.routes, rerank.jina_routes),
        *(vectors.routes, outputs.routes, scoring.routes, text.routes, info.routes, health.routes),
    )
)
"""Every route of the OpenAPI description."""

ROUTES = (*DESCRIBED_ROUTES, *documentation_routes(DESCRIBED_ROUTES))

ERROR_SHAPES: Mapping[str, ErrorShape] = {route.path: route.errors for route in ROUTES}
"""The shape of errors by path; for a path with parameters it is that of OpenAI."""


def build_asgi(service: Service) -> ASGIApp:
    """Return the application that answers for ``service``."""
    settings = service.settings
    router = Router(ROUTES, service)
    routes = [(*route.label, route.status) for route in ROUTES]
    service.request_stats.expect(routes, ERROR_CODES, router.label_of)
    app: ASGIApp = RequestMiddleware(
        router.answer,
        settings,
        service.keys,
        service.request_stats,
        service.large_bodies,
        ERROR_SHAPES,
    )
    if settings.cors_origins:
        app = CORSMiddleware(
            app,
            allow_origins=settings.cors_origins,
            allow_methods=["*"],
            allow_headers=["*"],
            expose_headers=["*"],
            allow_private_network=settings.cors_private_network,
        )
    tracer = service_tracer()
    return app if tracer is None else TraceMiddleware(app, tracer, router.label_of)
