"""The HTTP application over a service: which routes there are, and what stands in front of them."""

from __future__ import annotations

from fastapi import FastAPI

from deployments.ingress import collections, health, openai
from deployments.ingress.body import BodyLimit
from deployments.ingress.errors import install_handlers
from deployments.ingress.service import Service


def build_asgi(service: Service) -> FastAPI:
    """Return the application that answers for ``service``."""
    app = FastAPI(
        title="embedder",
        summary="Text in; vectors and nearest neighbours out.",
        docs_url=None,  # its page loads its script from elsewhere; /openapi.json needs nothing
        redoc_url=None,
    )
    app.state.service = service
    app.add_middleware(BodyLimit, max_bytes=service.settings.limits.max_body_bytes)
    install_handlers(app)
    for router in (openai.router, collections.router, health.router):
        app.include_router(router)
    return app
