"""Whole numbers of a ``config.json``. Knows nothing of where it comes from, nor what they mean."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from embedder.core.errors import UnsupportedModel


def required_int(config: Mapping[str, Any], key: str) -> int:
    """Return a whole number of a ``config.json``.

    Raises:
        UnsupportedModel: it is not there, or not a whole number.
    """
    value = config.get(key)
    if not isinstance(value, int) or isinstance(value, bool):
        raise UnsupportedModel(f"config.json has {key!r} = {value!r}; it must be a whole number")
    return value
