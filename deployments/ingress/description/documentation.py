"""The description of the routes, and a page that shows it without asking anybody else.

The page's script and style come from an installed package, so it works without the internet.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import orjson
from fastapi import APIRouter, Request
from fastapi.openapi.docs import get_swagger_ui_html
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, Response

from deployments.ingress.description.schema import describe
from deployments.ingress.middleware.route_prefix import PREFIX
from deployments.ingress.service.state import ServiceDependency

router = APIRouter(include_in_schema=False)

ASSETS = ("swagger-ui-bundle.js", "swagger-ui.css", "favicon.png")


@router.get("/openapi.json")
async def openapi(request: Request, service: ServiceDependency) -> Response:
    """Return the OpenAPI description."""
    schema = describe(request.app, has_keys=bool(service.settings.keys))
    if prefix := request.scope.get(PREFIX):
        schema = {**schema, "servers": [{"url": prefix}]}
    return Response(orjson.dumps(schema), media_type="application/json")


@router.get("/docs")
async def docs() -> Response:
    """Return a page from which every route can be tried."""
    script, style, icon = (f"docs/{name}" for name in ASSETS)
    return get_swagger_ui_html(
        openapi_url="openapi.json",
        title="embedder",
        swagger_js_url=script,
        swagger_css_url=style,
        swagger_favicon_url=icon,
    )


@router.get("/docs/{name}")
async def asset(name: str) -> Response:
    """Return one of the page's files."""
    if name not in ASSETS:
        raise HTTPException(404, "Not Found")
    return FileResponse(_folder() / name)


def _folder() -> Path:
    # Found, not imported: of the package only its files are wanted.
    spec = find_spec("fastapi_offline")
    assert spec is not None, "it is installed with this package"
    assert spec.origin is not None
    return Path(spec.origin).parent / "static"
