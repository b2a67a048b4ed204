"""API keys and their scopes."""

from __future__ import annotations

from enum import Enum

from pydantic import Field

from embedder.settings.tree import Settings


class Scope(str, Enum):
    """What a key may be used for; none includes another."""

    READ = "read"
    WRITE = "write"
    ADMIN = "admin"


class ApiKey(Settings):
    """One key that clients may call with; `embedder key` makes one and prints these lines."""

    name: str = Field(min_length=1, description="what the operator calls it")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$", description="of the key; the key is not kept")
    scopes: tuple[Scope, ...] = Field((Scope.READ,), min_length=1, description="what it may do")
