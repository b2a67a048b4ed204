"""The path of a request as routes are declared: without the prefix of the application.

Serve leaves ``route_prefix`` in the path, as ASGI requires, and repeats it in ``root_path``.
"""

from __future__ import annotations

from starlette.types import Scope


def strip_prefix(scope: Scope) -> tuple[Scope, str]:
    """Return the scope of a request with a path without the prefix, and the prefix."""
    prefix: str = scope.get("root_path", "")
    path: str = scope["path"]
    below = path.removeprefix(prefix) or "/"
    if not prefix or not below.startswith("/"):
        return scope, ""
    return {**scope, "path": below, "root_path": ""}, prefix
