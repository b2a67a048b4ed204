"""The path of a request as routes are declared: without the prefix of the application.

Serve leaves ``route_prefix`` in the path, as ASGI requires, and repeats it in ``root_path``.
"""

from __future__ import annotations


def strip_prefix(path: str, root_path: str) -> tuple[str, str]:
    """Return a path without ``root_path``, and the prefix, which is empty if it has another one."""
    below = path.removeprefix(root_path) or "/"
    return (below, root_path) if below.startswith("/") else (path, "")
