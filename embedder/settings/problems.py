"""One line for every problem of the settings, with its path, its source and a suggestion."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, SecretBytes, SecretStr, ValidationError

from embedder.settings.assignments import Assignment, origins_at
from embedder.settings.tree import Path, Settings, choices, place_of, suggestions, type_at

PREFIX = "EMBEDDER_"
"""Prefix of the environment variables."""

SEPARATOR = "__"
"""Separates the names of sections and settings in an environment variable."""


def variable_name(path: str) -> str:
    """Return the environment variable for the setting at a dotted path."""
    return PREFIX + path.replace(".", SEPARATOR).upper()


def describe_errors(
    kind: type[Settings], assignments: list[Assignment], error: ValidationError
) -> list[str]:
    """Return one line per place in pydantic's words, with the choices of a union on one line."""
    messages: dict[str, list[str]] = {}
    values: dict[str, str] = {}
    for problem in error.errors(include_url=False):
        unknown = problem["type"] == "extra_forbidden"
        path = place_of(kind, problem["loc"], unknown=unknown)
        origin = origins_at(assignments, path)
        place = describe_place(path, origin)
        if unknown:
            message = "no such setting" + _suggestion(kind, path, origin)
        else:
            message = problem["msg"].removeprefix("Value error, ")
            values[place] = _shown(problem["input"], choices(type_at(kind, path)))
        messages.setdefault(place, []).append(message)
    return [
        f"{place}: {' or '.join(lines)}{values.get(place, '')}" for place, lines in messages.items()
    ]


def describe_place(path: Path, origin: str) -> str:
    """Return a path and its origin on one line, even if a key contains line breaks."""
    place = ".".join(path) + (f" ({origin})" if origin else "")
    return place if place.isprintable() else repr(place)[1:-1]


def _suggestion(kind: type[Settings], path: Path, origin: str) -> str:
    names = suggestions(kind, path)
    if origin.startswith("environment "):
        names = [f"{name} ({variable_name(name)})" for name in names]
    return f"; did you mean {' or '.join(names)}?" if names else ""


def _shown(value: Any, types: tuple[Any, ...]) -> str:
    """Return the value for a message; nothing for secrets and whole sections."""
    if isinstance(value, Mapping | BaseModel) or {SecretStr, SecretBytes} & set(types):
        return ""
    return f" (it is {value!r})"
