"""Encode texts of a request as UTF-8, which has no lone surrogates; Python's strings have."""

from __future__ import annotations

from embedder.core.errors import InvalidInput


def encode(field: str, text: str) -> bytes:
    """Return a text in UTF-8; ``field`` is its name in errors.

    Raises:
        InvalidInput: it has a lone surrogate.
    """
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise InvalidInput(field, f"has a lone surrogate at character {error.start}") from None
