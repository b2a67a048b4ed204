"""The path that a request for an unknown path probably means."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from itertools import groupby

from deployments.ingress.routing.route import Route

LONGEST_PATH = 200
"""Characters of a path that are compared: longer ones are no misspelt address."""


def suggested_path(path: str, routes: Sequence[Route]) -> str | None:
    """Return the path of a route for a path that no route has, or None if none is similar.

    Repeated slashes and segments are dropped. Then the longest end of the path that is the path of
    a route is returned, as after a prefix of another service, else the most similar path.
    """
    if len(path) > LONGEST_PATH:
        return None
    segments = [segment for segment, _ in groupby(one for one in path.split("/") if one)]
    for start in range(len(segments)):
        end = "/" + "/".join(segments[start:])
        if any(_has_path(route, end, whole=start == 0) for route in routes):
            return end
    fixed = [route.path for route in routes if not route.has_path_parameters]
    return next(iter(get_close_matches("/" + "/".join(segments), fixed, 1)), None)


def _has_path(route: Route, path: str, *, whole: bool) -> bool:
    """Return whether a route has a path; the end of a longer path must be free of parameters."""
    return (whole or not route.has_path_parameters) and route.pattern.match(path) is not None
