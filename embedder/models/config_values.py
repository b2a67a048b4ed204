"""Checked values of a model's configuration files."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from embedder.core.errors import UnsupportedModel
from embedder.models.safety import read_object


def required_int(config: Mapping[str, Any], key: str) -> int:
    """Return an integer of a ``config.json``.

    Raises:
        UnsupportedModel: the key is missing, or its value is not an integer.
    """
    value = config.get(key)
    if not isinstance(value, int) or isinstance(value, bool):
        raise UnsupportedModel(f"config.json has {key!r} = {value!r}; it must be a whole number")
    return value


def read_optional(path: Path) -> Mapping[str, Any]:
    """Return the object in a JSON file, or an empty one if the file does not exist.

    Raises:
        UnsupportedModel: the file exists and cannot be read, or does not hold an object.
    """
    return read_object(path) if os.path.lexists(path) else {}
