"""The path of a request as routes are written: below the prefix of the application.

Serve leaves ``route_prefix`` in the path, as ASGI wants it, and says so in ``root_path``.
"""

from __future__ import annotations

from starlette.types import Scope

PREFIX = "embedder.prefix"
"""The key of a scope under which the description of the routes finds what was taken away."""


def strip_prefix(scope: Scope) -> Scope:
    """Return the scope of a request with a path that begins where the application's routes do."""
    prefix: str = scope.get("root_path", "")
    path: str = scope["path"]
    below = path.removeprefix(prefix) or "/"
    if not prefix or not below.startswith("/"):
        return scope
    return {**scope, "path": below, "root_path": "", PREFIX: prefix}
