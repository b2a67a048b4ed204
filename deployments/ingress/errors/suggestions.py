"""The address that a request for an unknown path probably means. A pure function of paths."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from itertools import groupby

from fastapi.routing import APIRoute

LONGEST_PATH = 200
"""Characters of a path that are compared: longer ones are no misspelt address."""


def suggested_path(path: str, routes: Iterable[APIRoute]) -> str | None:
    """Return the path of a route for one that none has, or None where nothing is near.

    Repeated slashes and parts are dropped; then the longest end that is an address counts, as
    after a prefix of another service; then the nearest spelling.
    """
    if len(path) > LONGEST_PATH:
        return None
    known = list(routes)
    parts = [part for part, _ in groupby(part for part in path.split("/") if part)]
    for start in range(len(parts)):
        end = "/" + "/".join(parts[start:])
        if any(_is_address(end, route, whole=start == 0) for route in known):
            return end
    fixed = [route.path for route in known if "{" not in route.path]
    return next(iter(get_close_matches("/" + "/".join(parts), fixed, 1)), None)


def _is_address(path: str, route: APIRoute, *, whole: bool) -> bool:
    """Tell whether a route has this path; the end of another path only if it holds no names."""
    return (whole or "{" not in route.path) and route.path_regex.match(path) is not None
