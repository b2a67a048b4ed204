"""One line for every problem of the settings, with its path, its source and a suggestion."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from pydantic import BaseModel, SecretBytes, SecretStr, ValidationError

from embedder.settings.tree import Path, Settings, choices, place_of, suggestions, type_at

PREFIX = "EMBEDDER_"
"""Prefix of the environment variables."""

SEPARATOR = "__"
"""Separates the names of sections and settings in an environment variable."""

RENAMED: Mapping[str, str] = MappingProxyType(
    {
        "batching.tune_s": "batching.autotune_s",
        "cache.near_bytes": "cache.local_bytes",
        "encoder.in_ingress": "encoder.placement",
        "tokenizer.ingress_characters": "tokenizer.placement",
        **{
            f"{stage}.{old}": f"{stage}.{new}"
            for stage in ("ingress", "tokenizer", "encoder")
            for old, new in (
                ("flights_per_replica", "calls_per_replica"),
                ("target_ongoing_requests", "target_utilization"),
            )
        },
        "index.max_dead": "index.max_deleted_share",
        "index.hnsw_links": "index.hnsw_m",
        "index.hnsw_build_effort": "index.hnsw_ef_construction",
        "index.hnsw_search_effort": "index.hnsw_ef_search",
    }
)
"""The present path of every setting of an earlier version that has another path now."""


IN_A_FILE = ", in a file"
"""The end of the origin of a value whose file a variable names; such a value may be a secret."""


def variable_name(path: str) -> str:
    """Return the environment variable for the setting at a dotted path."""
    return PREFIX + path.replace(".", SEPARATOR).upper()


def describe_errors(
    kind: type[Settings], origins: Callable[[Path], str], error: ValidationError
) -> list[str]:
    """Return one line per place in pydantic's words, with the choices of a union on one line."""
    messages: dict[str, list[str]] = {}
    values: dict[str, str] = {}
    for problem in error.errors(include_url=False):
        unknown = problem["type"] == "extra_forbidden"
        path = place_of(kind, problem["loc"], unknown=unknown)
        origin = origins(path)
        place = describe_place(path, origin)
        if unknown:
            message = _unknown(kind, path, in_environment=origin.startswith("environment "))
        else:
            message = problem["msg"].removeprefix("Value error, ")
            if not origin.endswith(IN_A_FILE):
                values[place] = _shown(problem["input"], choices(type_at(kind, path)))
        messages.setdefault(place, []).append(message)
    return [
        f"{place}: {' or '.join(lines)}{values.get(place, '')}" for place, lines in messages.items()
    ]


def describe_place(path: Path, origin: str) -> str:
    """Return a path and its origin on one line, even if a key contains line breaks."""
    place = ".".join(path) + (f" ({origin})" if origin else "")
    return place if place.isprintable() else repr(place)[1:-1]


def _unknown(kind: type[Settings], path: Path, *, in_environment: bool) -> str:
    """Return the message for a path without a setting: its new name, or names that are similar."""
    new = RENAMED.get(".".join(path))
    names = suggestions(kind, path) if new is None else [new]
    if in_environment:
        names = [f"{name} ({variable_name(name)})" for name in names]
    if new is not None:
        return f"has been renamed to {names[0]}"
    return "no such setting" + (f"; did you mean {' or '.join(names)}?" if names else "")


def _shown(value: Any, types: tuple[Any, ...]) -> str:
    """Return the value for a message; nothing for secrets and whole sections."""
    if isinstance(value, Mapping | BaseModel) or {SecretStr, SecretBytes} & set(types):
        return ""
    return f" (it is {value!r})"
