"""API keys: who calls, and what for. Pure functions of headers and of the configured keys.

Only digests of keys are kept. Knows nothing of routes: `gate` asks here who calls, and each
route says which scope it needs.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Iterable, Sequence

from deployments.settings.access import ApiKey

KEY_PREFIX = "emb-"
KEY_BYTES = 24

Headers = Iterable[tuple[bytes, bytes]]
"""Names in lower case and values, as ASGI has them."""


def new_key() -> str:
    """Return a fresh key of 192 random bits."""
    return KEY_PREFIX + secrets.token_urlsafe(KEY_BYTES)


def digest(key: bytes) -> str:
    """Return the SHA-256 of a key in hexadecimal, which is what the settings hold."""
    return hashlib.sha256(key).hexdigest()


def presented_key(headers: Headers) -> bytes | None:
    """Return the key that a request brings: a bearer token, else ``x-api-key``, else ``api-key``.

    The last is what clients of Azure's OpenAI service send.
    """
    named = dict(headers)
    kind, _, token = named.get(b"authorization", b"").partition(b" ")
    if kind.lower() == b"bearer" and token.strip():
        return token.strip()
    return named.get(b"x-api-key", b"").strip() or named.get(b"api-key", b"").strip() or None


def matching_key(key: bytes | None, keys: Sequence[ApiKey]) -> ApiKey | None:
    """Return which of the configured keys this is, in the same time whichever it is."""
    # Digests are compared, so not even the time of one comparison depends on a stored key.
    shown = digest(key or b"").encode()
    found: ApiKey | None = None
    for one in keys:
        if hmac.compare_digest(shown, one.sha256.encode()):
            found = one
    return found if key else None
