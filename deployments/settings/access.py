"""API keys and their scopes."""

from __future__ import annotations

from enum import Enum

from pydantic import Field

from embedder.settings.tree import Settings


class Scope(str, Enum):
    """The kinds of requests that a key allows; no scope includes another."""

    READ = "read"
    WRITE = "write"
    ADMIN = "admin"


class ApiKey(Settings):
    """An API key of a client; `embedder key` makes a key and prints these fields."""

    name: str = Field(min_length=1, description="the operator's name for the key")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$", description="SHA-256 digest of the key")
    scopes: tuple[Scope, ...] = Field((Scope.READ,), min_length=1, description="what it allows")
