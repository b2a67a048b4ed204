"""API keys: the scopes and the collections of each, and the checks of a list of keys."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

from pydantic import Field, field_validator

from embedder.core.errors import InvalidInput
from embedder.index.contract.checks import check_name
from embedder.settings.tree import Settings

HEALTH_CHECKS = frozenset({"/healthz", "/readyz", "/health", "/ping"})
"""The paths of load balancers and schedulers, which need no key."""

MAX_KEYS = 1000
"""Keys of a service: each request is compared with every one of them, so that a comparison takes
the same time for all."""

MAX_KEY_NAME_CHARACTERS = 64
MAX_PATTERNS = 100
"""Entries in the ``collections`` of one key."""

ANY = "*"
"""The end of a pattern that stands for every name with the same beginning."""


class Scope(str, Enum):
    """The kinds of requests that a key allows; no scope includes another."""

    READ = "read"
    WRITE = "write"
    ADMIN = "admin"


class ApiKey(Settings):
    """An API key of a client; `embedder key` makes a key and prints these fields."""

    name: str = Field(
        min_length=1,
        max_length=MAX_KEY_NAME_CHARACTERS,
        description="the operator's name for the key, which logs, metrics and errors show",
    )
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$", description="SHA-256 digest of the key")
    scopes: tuple[Scope, ...] = Field((Scope.READ,), min_length=1, description="what it allows")
    collections: tuple[str, ...] | None = Field(
        None,
        max_length=MAX_PATTERNS,
        description="the collections that it may reach: names, or beginnings of names followed by "
        "*; null: every collection",
    )

    @field_validator("name")
    @classmethod
    def _check_name(cls, name: str) -> str:
        """Refuse a name that would break the line of a log."""
        if not name.isprintable():
            raise ValueError("must have printable characters and spaces only")
        return name

    @field_validator("collections")
    @classmethod
    def _check_patterns(cls, patterns: tuple[str, ...] | None) -> tuple[str, ...] | None:
        """Refuse a pattern that no collection can have."""
        for number, pattern in enumerate(patterns or ()):
            beginning = pattern.removesuffix(ANY)
            try:
                if pattern != ANY:
                    check_name(beginning)
            except InvalidInput as error:
                raise ValueError(
                    f"entry {number + 1} {error.problem}; {ANY} may stand at its end"
                ) from None
        return patterns

    def may_reach(self, collection: str) -> bool:
        """Return whether the key includes a collection, which need not exist."""
        return self.collections is None or any(
            collection.startswith(pattern[:-1]) if pattern.endswith(ANY) else collection == pattern
            for pattern in self.collections
        )


def is_open(method: str, path: str) -> bool:
    """Return whether a request is a health check, which needs no key.

    ``GET /`` is a health check of text-embeddings-inference; ``POST /`` embeds, with a key.
    """
    return path in HEALTH_CHECKS or (path == "/" and method in ("GET", "HEAD"))


def check_keys(keys: Sequence[ApiKey]) -> None:
    """Check the keys of a service together.

    Raises:
        ValueError: there are more than `MAX_KEYS`, or two have the same name or the same digest.
    """
    if len(keys) > MAX_KEYS:
        raise ValueError(f"there are {len(keys)} keys; the limit is {MAX_KEYS}")
    for field in ("name", "sha256"):
        values = [getattr(key, field) for key in keys]
        if len(set(values)) < len(values):
            raise ValueError(f"several keys have the same {field}")
