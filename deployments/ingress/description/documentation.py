"""The routes of the OpenAPI description and of a page that shows it.

The script and style of the page come from an installed package, so it works offline.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import fastapi
import orjson
from fastapi.openapi.docs import get_swagger_ui_html
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, Response

from deployments.ingress.description.schema import describe
from deployments.ingress.middleware.context import RequestContext
from deployments.ingress.routing.route import Route, Routes
from deployments.ingress.service.service import Service
from deployments.settings.access import Scope

ASSETS = {
    "swagger-ui-bundle.js": "text/javascript",
    "swagger-ui.css": "text/css",
    "favicon.png": "image/png",
}
"""The files of the page, with their media types."""


def documentation_routes(described: Sequence[Route]) -> Routes:
    """Return the routes of the description of ``described``, and of the page that shows it."""
    routes = Routes(tag=None)

    @routes.add("GET", "/openapi.json", scope=Scope.READ)
    async def openapi(service: Service, context: RequestContext) -> Response:
        schema = describe(tuple(described), has_keys=service.settings.requires_keys)
        if context.prefix:
            schema = {**schema, "servers": [{"url": context.prefix}]}
        return Response(orjson.dumps(schema), media_type="application/json")

    routes.add("GET", "/docs", scope=Scope.READ)(docs)
    routes.add("GET", "/docs/{name}", scope=Scope.READ)(asset)
    return routes


async def docs() -> Response:
    """Return a page that shows the description, and can send requests."""
    script, style, icon = (f"docs/{name}" for name in ASSETS)
    return get_swagger_ui_html(
        openapi_url="openapi.json",
        title="embedder",
        swagger_js_url=script,
        swagger_css_url=style,
        swagger_favicon_url=icon,
    )


async def asset(name: Annotated[str, fastapi.Path()]) -> Response:
    """Return a file of the page."""
    if name not in ASSETS:
        raise HTTPException(404)
    return FileResponse(_folder() / name, media_type=ASSETS[name])


def _folder() -> Path:
    # Not imported, because only the files of the package are needed.
    spec = find_spec("fastapi_offline")
    assert spec is not None, "it is installed with this package"
    assert spec.origin is not None
    return Path(spec.origin).parent / "static"
