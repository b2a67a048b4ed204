"""API keys: created, read from headers, and compared with the configured digests."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Mapping, Sequence

from deployments.settings.access import ApiKey

KEY_PREFIX = "emb-"
KEY_BYTES = 24

Headers = Mapping[bytes, bytes]
"""The last value of each header of a request, by its name in lower case."""


def new_key() -> str:
    """Return a new key of 192 random bits."""
    return KEY_PREFIX + secrets.token_urlsafe(KEY_BYTES)


def digest(key: bytes) -> str:
    """Return the SHA-256 of a key in hexadecimal, the form in which the settings hold keys."""
    return hashlib.sha256(key).hexdigest()


def presented_key(headers: Headers) -> bytes | None:
    """Return the key of a request: a bearer token, else ``x-api-key``, else ``api-key``.

    Clients of Azure's OpenAI service send ``api-key``.
    """
    kind, _, token = headers.get(b"authorization", b"").partition(b" ")
    if kind.lower() == b"bearer" and token.strip():
        return token.strip()
    return headers.get(b"x-api-key", b"").strip() or headers.get(b"api-key", b"").strip() or None


def matching_key(key: bytes | None, keys: Sequence[ApiKey]) -> ApiKey | None:
    """Return the configured key with the digest of ``key``, in a time independent of its place."""
    given = digest(key or b"").encode()
    found: ApiKey | None = None
    for configured in keys:
        if hmac.compare_digest(given, configured.sha256.encode()):
            found = configured
    return found if key else None
